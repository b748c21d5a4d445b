"""Keywords about types, constants, numbers and strings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.domain.types import Enforcement
from genir_server.schema.pattern.translate import translate
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


_MAX_BOUND = 10**15


def whole(value: object) -> object:
    """A float without a fraction as an integer, as normal form writes it."""
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
        too_large = isinstance(value, int | float) and direction * value >= _MAX_BOUND
        if too_large and not isinstance(value, bool):
            # The engine cannot enforce it, and such a bound excludes hardly anything.
            context.unchecked(node, keyword, "the engine does not support bounds this large")
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
        # The engine accepts no negative number as a multiple.
        context.divisors[id(schema)] = value
        context.unchecked(node, "multipleOf", "the engine does not support negative multiples")


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
    """Whether a value is a fraction where `type` allows only integers.

    The grammar compiler fails on such a schema.
    """
    if not isinstance(value, float) or value.is_integer():
        return False
    types = node.keywords.get("type", "number")
    names = types if isinstance(types, list) else [types]
    return "integer" in names and "number" not in names


def _pattern(
    context: Context, node: Node, schema: dict[str, object], extra: list[EngineSchema]
) -> None:
    pattern = translate(str(node.keywords["pattern"]))
    if (
        pattern.is_regular
        and not context.options.plain_patterns
        and context.oracle.compiles({"type": "string", "pattern": pattern.text})
    ):
        _add(schema, extra, "pattern", pattern.text)
    else:
        context.unchecked(node, "pattern", "the engine does not support this regular expression")


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
        # Narrowing replaces it by an exact pattern.
        part = _add(schema, extra, "pattern", WIDE_PATTERNS[name])
        context.formats[id(part)] = name
        context.unchecked(
            node, "format", f"the engine also allows texts that only look like {name}"
        )
    elif name in STANDARD_FORMATS:
        context.unchecked(node, "format", f"the engine does not know the format {name}")
    else:
        context.note(node, "format", Enforcement.ANNOTATION, "no standard defines this format")


def _add(
    schema: dict[str, object], extra: list[EngineSchema], keyword: str, value: object
) -> dict[str, object]:
    """Adds a keyword to the schema, or to a new part in `extra` if the schema already has it.

    Returns the one that got the keyword.
    """
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
