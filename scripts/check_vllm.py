"""Compares what genir uses of vLLM with the sources of a version of vLLM, without importing it.

    check_vllm.py VERSION

It prints a table and exits with 1 if a name, parameter, attribute or value that genir depends on is
missing. Then it lists the functions of the table whose code differs from the installed version, for
someone to read. That a version passes does not show that it works. `patch_table/table.py` and
`vllm_uses.py` say what is covered.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genir_server.patch_table.table import PATCHES
from scripts.python_sources import (
    Found,
    Function,
    MissingError,
    Package,
    is_abstract,
    names_used,
    parameters,
)
from scripts.vllm_sources import downloaded, installed
from scripts.vllm_uses import OBJECTS, VARIABLES, uses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genir_server.patch_table.table import Touch
    from scripts.vllm_uses import Use

SERVICE = Path(__file__).parents[1] / "service" / "genir_server"


@dataclass(frozen=True)
class Row:
    """One line of the result: a name, what uses it, and the difference, "" if there is none."""

    name: str
    used_by: str
    difference: str


def check(folder: Path) -> list[Row]:
    """One row for each entry of the patch table and for each use of vLLM in the server.

    Args:
        folder: the folder of the package `vllm`.

    """
    package = Package(folder)
    rows = {
        Row(touch.name, f'patch "{patch.name}"', _touch_difference(package, touch))
        for patch in PATCHES.values()
        for touch in patch.touches
        if touch.name.startswith("vllm")
    }
    every_use = (*OBJECTS, *uses(SERVICE))
    rows |= {Row(use.name, use.where, _use_difference(package, use)) for use in every_use}
    return sorted(rows, key=lambda row: (not row.difference, row.name, row.used_by))


def _touch_difference(package: Package, touch: Touch) -> str:
    """What `patch_table.fits` would find if the package were installed."""
    try:
        found = package.find(touch.name)
        return next(_touch_differences(package, touch, found), "")
    except MissingError as missing:
        return f"{missing} is missing"


def _touch_differences(package: Package, touch: Touch, found: object) -> Iterator[str]:
    node = found.node if isinstance(found, Found) else None
    if touch.parameters is not None:
        taken = parameters(node) if isinstance(node, Function) else ()
        if taken != touch.parameters:
            yield f"takes ({', '.join(taken)}), not ({', '.join(touch.parameters)})"
    if isinstance(found, Found):
        if missing := set(touch.fields) - _attributes(package, found):
            yield f"has no {', '.join(sorted(missing))}"
        fields = _declared(package, found)
        if tuple(fields[: len(touch.first_fields)]) != touch.first_fields:
            yield f"begins with the fields {', '.join(fields[: len(touch.first_fields)])}"
        if missing := set(touch.values) - _literals(package, found):
            yield f"does not allow {', '.join(sorted(missing))}"
    calls = names_used(node) if isinstance(node, Function) else set()
    if missing := set(touch.calls) - calls:
        yield f"does not call {', '.join(sorted(missing))}"


def _use_difference(package: Package, use: Use) -> str:
    try:
        found = package.find(use.name)
    except MissingError as missing:
        variable = f'"{use.name.removeprefix(VARIABLES)}"'
        if use.name.startswith(VARIABLES) and package.mentions(variable):
            return ""
        return f"{missing} is missing"
    if not isinstance(found, Found):
        return ""
    if missing_fields := set(use.fields) - _attributes(package, found):
        return f"has no {', '.join(sorted(missing_fields))}"
    return _call_difference(package, found, use) if use.positional or use.keywords else ""


def _call_difference(package: Package, found: Found, use: Use) -> str:
    names, positional, any_keyword = _arguments(package, found)
    unknown = set(use.keywords) - set(names)
    if unknown and not any_keyword:
        return f"takes no {', '.join(sorted(unknown))}"
    if use.positional > positional:
        return f"takes {positional} positional arguments, not {use.positional}"
    return ""


def _arguments(package: Package, found: Found) -> tuple[list[str], int, bool]:
    """The names that a call may use, how many may be positional, and whether any keyword may."""
    function = found.node
    if isinstance(function, ast.ClassDef):
        try:
            constructor = package.find(f"{found.module.name}:{function.name}.__init__")
        except MissingError:
            fields = _declared(package, found)
            return fields, len(fields), False
        if isinstance(constructor, Found):
            function = constructor.node
    if not isinstance(function, Function):
        # Not a function that this module knows, such as the result of a call.
        return [], sys.maxsize, True
    given = function.args
    arguments = [argument.arg for argument in (*given.posonlyargs, *given.args)]
    bound = int(arguments[:1] in (["self"], ["cls"]))
    positional = sys.maxsize if given.vararg else len(arguments) - bound
    names = [*arguments, *(argument.arg for argument in given.kwonlyargs)]
    return names, positional, given.kwarg is not None


def _attributes(package: Package, found: Found) -> set[str]:
    """The attributes of a class as `patch_table.fits` sees them: with what `__init__` uses."""
    names: set[str] = set()
    for cls in package.bases(found):
        if not isinstance(cls.node, ast.ClassDef):
            continue
        for node in cls.node.body:
            if isinstance(node, Function | ast.ClassDef) and not is_abstract(node):
                names.add(node.name)
                if isinstance(node, Function) and node.name == "__init__":
                    names |= names_used(node)
            names |= {name for name in _assigned(node) if name}
    return names


def _declared(package: Package, found: Found) -> list[str]:
    """The annotated fields of a class and its base classes, those of base classes first."""
    fields: dict[str, None] = {}
    for cls in reversed(list(package.bases(found))):
        for node in cls.node.body if isinstance(cls.node, ast.ClassDef) else ():
            if isinstance(node, ast.AnnAssign):
                fields |= dict.fromkeys(_assigned(node))
    return list(fields)


def _assigned(node: ast.stmt) -> list[str]:
    targets = (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign)
        else []
    )
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _literals(package: Package, found: Found) -> set[object]:
    """The values of a type alias made of `Literal`, and of the aliases that it names."""
    if not isinstance(found.node, ast.Assign | ast.AnnAssign) or found.node.value is None:
        return set()
    values: set[object] = set()
    for node in ast.walk(found.node.value):
        if isinstance(node, ast.Constant):
            values.add(node.value)
        elif isinstance(node, ast.Name):
            try:
                alias = package.find(f"{found.module.name}:{node.id}")
            except MissingError:
                continue
            if isinstance(alias, Found):
                values |= _literals(package, alias)
    return values


def changed(folder: Path, tested: Path) -> list[str]:
    """The functions that genir depends on and whose code differs between two versions."""
    new, old = Package(folder), Package(tested)
    return sorted(
        {row.name for row in check(folder) if _code(new, row.name) != _code(old, row.name)}
    )


def _code(package: Package, name: str) -> str:
    """The code of a function without its comments and layout; "" for all else."""
    try:
        found = package.find(name)
    except MissingError:
        return ""
    node = found.node if isinstance(found, Found) else None
    return ast.dump(node) if isinstance(node, Function) else ""


def main(version: str) -> int:
    """Prints the table and returns the exit status."""
    folder = downloaded(version)
    rows = check(folder)
    width = max(len(row.name) for row in rows)
    for row in rows:
        print(f"{row.name:{width}}  {row.difference or 'ok':4}  ({row.used_by})")
    differing = sum(bool(row.difference) for row in rows)
    print(f"{len(rows)} names, {differing} differ")
    for name in changed(folder, installed()):
        print(f"other code than the installed version: {name}")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
