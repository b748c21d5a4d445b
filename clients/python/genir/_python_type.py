"""Schemas of Python types, and values of these types. pydantic is imported only when needed."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_origin

from genir.errors import ErrorDetails, ErrorReason, ModelRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pydantic import TypeAdapter

_KEPT_ADAPTERS = 128
_MODEL_METHODS = ("model_json_schema", "model_validate_json")
_ADAPTER_METHODS = ("json_schema", "validate_json")


@dataclass(frozen=True, slots=True)
class PythonType:
    """A Python type as a schema.

    Attributes:
        json_schema: its JSON Schema.
        read: makes a value of the type from the parsed IR and its text.

    """

    json_schema: dict[str, Any]
    read: Callable[[object, str], Any]


def read_type(given: object) -> PythonType:
    """The schema of a type, of a `TypeAdapter`, or of any class with pydantic's two methods.

    Raises:
        TypeError: it is not a type, or it has no JSON Schema.

    """
    name = _name(given)
    if not _is_type(given) and not _has(given, _ADAPTER_METHODS):
        raise TypeError(_no_type(given))
    if isinstance(given, type) and _has(given, _MODEL_METHODS) and not _is_pydantic(given):
        model: Any = given
        return PythonType(model.model_json_schema(), _reader(name, model.model_validate_json))
    try:
        import pydantic.errors
    except ModuleNotFoundError:
        msg = f"the schema {name} needs pydantic, which is not installed: pip install pydantic"
        raise TypeError(msg) from None
    from genir._checked_schema import checked_schema

    try:
        adapter: Any = _adapter(given) if _is_type(given) else given
        return PythonType(checked_schema(given, adapter), _reader(name, adapter.validate_json))
    except (pydantic.errors.PydanticUserError, NameError) as error:
        msg = f"pydantic has no JSON Schema for {name}: {error}"
        raise TypeError(msg) from error


def _adapter(given: Hashable) -> TypeAdapter[Any]:
    try:
        return _kept_adapter(given)
    except TypeError:  # Unhashable, as types with some annotations are.
        return _new_adapter(given)


def _new_adapter(given: object) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    kind: Any = given
    return TypeAdapter(kind)


# Building one takes milliseconds, and callers use the same few types again and again.
_kept_adapter = lru_cache(_KEPT_ADAPTERS)(_new_adapter)


def _is_type(given: object) -> bool:
    """Whether pydantic would take it for a type: a class, ``list[X]``, ``A | B``, an alias."""
    return (
        isinstance(given, type)
        or get_origin(given) is not None
        or hasattr(given, "__supertype__")
        or hasattr(given, "__value__")
    )


def _is_pydantic(model: type) -> bool:
    return hasattr(model, "__pydantic_core_schema__")


def _has(given: object, methods: tuple[str, str]) -> bool:
    return all(callable(getattr(given, method, None)) for method in methods)


def _name(given: object) -> str:
    if isinstance(given, type) and get_origin(given) is None:
        return given.__name__
    return repr(given)


def _no_type(given: object) -> str:
    kind = type(given)
    if _has(kind, _MODEL_METHODS) or is_dataclass(given):
        return f"schema is an instance of {kind.__name__}: give the class, schema={kind.__name__}"
    return (
        "schema must be JSON text, a pathlib.Path, a mapping or a type such as a pydantic model "
        f"class, not {kind.__name__}"
    )


def _reader(name: str, validate: Callable[[str], Any]) -> Callable[[object, str], Any]:
    def read(value: object, ir_json: str) -> Any:  # noqa: ARG001, ANN401 - the type parses the text
        try:
            return validate(ir_json)
        except ValueError as error:  # pydantic's ValidationError is one.
            raise ModelRefusedError(
                ErrorDetails(
                    reason=ErrorReason.MODEL_REFUSED,
                    message=f"the IR is valid against the schema of {name}, but the type rejects "
                    f"it: {error}",
                    raw_output=ir_json,
                )
            ) from error

    return read
