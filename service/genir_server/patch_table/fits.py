"""Decides whether an installed version fits a patch, by checking exactly what the patch touches."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
from typing import TYPE_CHECKING, Any, get_args

from genir_server.patch_table.table import PATCHES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from genir_server.patch_table.table import Patch, Touch

_outcomes: dict[str, str] = {}


def applies(name: str) -> bool:
    """Whether a patch of the table fits the installed versions; remembers it for `outcomes`.

    Imports the modules that the patch touches.

    Raises:
        KeyError: the table has no such patch.

    """
    _outcomes[name] = misfit(PATCHES[name])
    return not _outcomes[name]


def outcomes() -> dict[str, str]:
    """The patches that this process has checked: "" for each that fits, else why it does not."""
    return dict(_outcomes)


def summary(outcomes: Mapping[str, str], off: Mapping[str, str]) -> str:
    """One line that names the patches in use, and says why the others are not.

    Args:
        outcomes: what `outcomes` gave in every process that patches something.
        off: the reason for each patch that a setting or the platform turned off.

    """
    reasons = dict.fromkeys(PATCHES, "not needed here") | dict(outcomes) | dict(off)
    applied = [name for name, reason in reasons.items() if not reason]
    others = [f"{name} ({reason})" for name, reason in reasons.items() if reason]
    return f"patches applied: {_list(applied)}; not applied: {_list(others)}"


def misfit(patch: Patch) -> str:
    """Why the installed versions do not fit a patch; "" if they do."""
    return next(filter(None, map(_touch_misfit, patch.touches)), "")


def _touch_misfit(touch: Touch) -> str:
    try:
        return next(_differences(touch, pkgutil.resolve_name(touch.name)), "")
    except Exception as error:  # noqa: BLE001  # A changed package may fail in any way.
        return f"{touch.name}: {type(error).__name__}: {error}"


def _differences(touch: Touch, found: Any) -> Iterator[str]:  # noqa: ANN401 - any object.
    if touch.parameters is not None:
        parameters = tuple(inspect.signature(found).parameters)
        if parameters != touch.parameters:
            yield f"{touch.name} takes ({', '.join(parameters)})"
    if missing := set(touch.fields) - _attributes(found):
        yield f"{touch.name} has no {min(missing)}"
    if touch.first_fields and not _begins_with(found, touch.first_fields):
        yield f"{touch.name} does not begin with the fields {', '.join(touch.first_fields)}"
    if touch.calls and not set(touch.calls) <= _names_used(found):
        yield f"{touch.name} does not call {' and '.join(touch.calls)}"
    if touch.values and not set(touch.values) <= _literals(found):
        yield f"{touch.name} does not allow {', '.join(touch.values)}"


def _attributes(found: object) -> set[str]:
    """The attributes of an object; for a class also those that it declares or its constructor sets.

    Abstract methods do not count. A name that the constructor only reads does, because a code
    object does not tell the two apart.
    """
    names = {name for name in dir(found) if not _is_abstract(getattr(found, name, None))}
    if isinstance(found, type):
        for owner in inspect.getmro(found):
            names |= vars(owner).get("__annotations__", {}).keys()
            names |= _names_used(vars(owner).get("__init__"))
    return names


def _is_abstract(attribute: object) -> bool:
    return bool(getattr(attribute, "__isabstractmethod__", False))


def _begins_with(found: object, names: tuple[str, ...]) -> bool:
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        return False
    return tuple(field.name for field in dataclasses.fields(found)[: len(names)]) == names


def _names_used(found: object) -> set[str]:
    function = inspect.unwrap(found) if callable(found) else None
    return set(function.__code__.co_names) if inspect.isfunction(function) else set()


def _literals(annotation: object) -> set[object]:
    parts = get_args(annotation)
    return set().union(*map(_literals, parts)) if parts else {annotation}


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"
