"""Keywords about types, constants, numbers and strings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.domain.types import Enforcement
from genir_server.schema.relax.formats import (
    ENGINE_FORMATS,
    EXACT_PATTERNS,
    STANDARD_FORMATS,
    WIDE_PATTERNS,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.schema.read.document import Node
    from genir_server.schema.relax.context import Context, EngineSchema


_FAR = 10**15


def whole(value: object) -> object:
    """A number that has no fraction as an integer, which is how normal form writes it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _copy(keyword: str) -> Callable[..., None]:
    def convert(_: Context, node: Node, schema: dict[str, object], __: list[EngineSchema]) -> None:
        schema[keyword] = whole(node.keywords[keyword])

    return convert


def _edge(keyword: str, direction: int) -> Callable[..., None]:
    def convert(
        context: Context, node: Node, schema: dict[str, object], __: list[EngineSchema]
    ) -> None:
        value = node.keywords[keyword]
        far = isinstance(value, int | float) and direction * value >= _FAR
        if far and not isinstance(value, bool):
            # Beyond what the engine can count to, and hardly a bound at all.
            context.unchecked(node, keyword, "the engine does not count that far")
        else:
            schema[keyword] = whole(value)

    return convert


def _multiple_of(
    context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]
) -> None:
    value = node.keywords["multipleOf"]
    low = [node.keywords.get(keyword) for keyword in ("minimum", "exclusiveMinimum")]
    if any(isinstance(edge, int | float) and type(edge) is not bool and edge >= 0 for edge in low):
        schema["multipleOf"] = whole(value)
    else:
        # The engine takes no negative number for a multiple of anything.
        context.divisors[id(schema)] = value
        context.unchecked(node, "multipleOf", "the engine knows no negative multiples")


def _type(_: Context, node: Node, schema: dict[str, object], __: list[EngineSchema]) -> None:
    value = node.keywords["type"]
    if isinstance(value, list):
        names = list(dict.fromkeys(value))
        if "number" in names and "integer" in names:
            names.remove("integer")
        schema["type"] = names[0] if len(names) == 1 else names
    else:
        schema["type"] = value


def _enum(_: Context, node: Node, schema: dict[str, object], extra: list[EngineSchema]) -> None:
    values = node.keywords["enum"]
    assert isinstance(values, list)  # noqa: S101 - the meta-schema was checked
    fitting = [whole(value) for value in values if not _misses_integer(node, value)]
    if fitting or not values:
        schema["enum"] = fitting
    else:
        extra.append(False)


def _const(_: Context, node: Node, schema: dict[str, object], extra: list[EngineSchema]) -> None:
    value = node.keywords["const"]
    if _misses_integer(node, value):
        extra.append(False)
    else:
        schema["const"] = whole(value)


def _misses_integer(node: Node, value: object) -> bool:
    """Whether a value is a fraction where only integers may be: the engine's compiler stumbles."""
    if not isinstance(value, float) or value.is_integer():
        return False
    types = node.keywords.get("type", "number")
    names = types if isinstance(types, list) else [types]
    return "integer" in names and "number" not in names


def _pattern(
    context: Context, node: Node, schema: dict[str, object], extra: list[EngineSchema]
) -> None:
    pattern = str(node.keywords["pattern"])
    if not context.options.plain_patterns and context.oracle.compiles(
        {"type": "string", "pattern": pattern}
    ):
        _add(schema, extra, "pattern", pattern)
    else:
        context.unchecked(node, "pattern", "the engine cannot follow this regular expression")


def _format(
    context: Context, node: Node, schema: dict[str, object], extra: list[EngineSchema]
) -> None:
    name = str(node.keywords["format"])
    if name in ENGINE_FORMATS:
        schema["format"] = name
    elif name in EXACT_PATTERNS:
        _add(schema, extra, "pattern", EXACT_PATTERNS[name])
        context.rewritten(node, "format", f"{name} as a regular expression")
    elif name in WIDE_PATTERNS:
        # Narrowing makes an exact one of it.
        part = _add(schema, extra, "pattern", WIDE_PATTERNS[name])
        context.formats[id(part)] = name
        context.unchecked(node, "format", f"the engine lets through what only looks like {name}")
    elif name in STANDARD_FORMATS:
        context.unchecked(node, "format", f"the engine does not know the format {name}")
    else:
        context.note(node, "format", Enforcement.ANNOTATION, "no standard defines this format")


def _add(
    schema: dict[str, object], extra: list[EngineSchema], keyword: str, value: object
) -> dict[str, object]:
    """Adds a keyword to a schema, or to a part beside it if it has that keyword; gives which."""
    part = schema
    if keyword in schema:
        part = {}
        extra.append(part)
    part[keyword] = value
    return part


CONVERTERS: dict[str, Callable[..., None]] = {
    "type": _type,
    "const": _const,
    "enum": _enum,
    "minimum": _edge("minimum", -1),
    "maximum": _edge("maximum", 1),
    "exclusiveMinimum": _edge("exclusiveMinimum", -1),
    "exclusiveMaximum": _edge("exclusiveMaximum", 1),
    "multipleOf": _multiple_of,
    "minLength": _copy("minLength"),
    "maxLength": _copy("maxLength"),
    "pattern": _pattern,
    "format": _format,
}
