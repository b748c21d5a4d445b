"""Keywords about types and strings."""

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
from genir_server.schema.relax.number_bounds import whole
from genir_server.schema.relax.numbers import lists_large_number
from genir_server.schema.relax.part import Part

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.schema.read.document import Node
    from genir_server.schema.relax.context import Context, EngineSchema


# No answer is that long, and the engine cannot count that far.
_MAX_LENGTH = 10**9


def _copy(keyword: str) -> Callable[..., None]:
    def convert(_: Context, node: Node, schema: dict[str, object], __: list[EngineSchema]) -> None:
        schema[keyword] = whole(node.keywords[keyword])

    return convert


def _max_length(
    context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]
) -> None:
    value = node.keywords["maxLength"]
    if isinstance(value, int | float) and value > _MAX_LENGTH:
        context.unchecked(node, "maxLength", "the engine does not support strings this long")
    else:
        schema["maxLength"] = whole(value)


def _type(context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]) -> None:
    value = node.keywords["type"]
    if value == "integer" and lists_large_number(context, node):
        # The engine cuts such a constant to 64 bits beside "integer".
        schema["type"] = "number"
    elif isinstance(value, list):
        names = list(dict.fromkeys(value))
        if "integer" in names and lists_large_number(context, node):
            names.append("number")
        if "number" in names and "integer" in names:
            names.remove("integer")
        schema["type"] = names[0] if len(names) == 1 else names
    else:
        schema["type"] = value


def _pattern(context: Context, node: Node, schema: Part, extra: list[EngineSchema]) -> None:
    pattern = translate(str(node.keywords["pattern"]))
    if (
        pattern.is_regular
        and not context.options.plain_patterns
        and context.oracle.compiles({"type": "string", "pattern": pattern.text})
    ):
        _add(schema, extra, "pattern", pattern.text)
    else:
        context.unchecked(node, "pattern", "the engine does not support this regular expression")


def _format(context: Context, node: Node, schema: Part, extra: list[EngineSchema]) -> None:
    name = str(node.keywords["format"])
    if name in ENGINE_FORMATS:
        schema["format"] = name
    elif name in EXACT_PATTERNS:
        _add(schema, extra, "pattern", EXACT_PATTERNS[name])
        context.rewritten(node, "format", f"{name} as a regular expression")
    elif name in WIDE_PATTERNS:
        # Narrowing replaces it by an exact pattern.
        part = _add(schema, extra, "pattern", WIDE_PATTERNS[name])
        part.wide_format = name
        context.unchecked(
            node, "format", f"the engine also allows texts that only look like {name}"
        )
    elif name in STANDARD_FORMATS:
        context.unchecked(node, "format", f"the engine does not know the format {name}")
    else:
        context.note(node, "format", Enforcement.ANNOTATION, "no standard defines this format")


def _add(schema: Part, extra: list[EngineSchema], keyword: str, value: object) -> Part:
    """Adds a keyword to the schema, or to a new part in `extra` if the schema already has it.

    Returns the one that got the keyword.
    """
    part = schema
    if keyword in schema:
        part = Part()
        extra.append(part)
    part[keyword] = value
    return part


CONVERTERS: dict[str, Callable[..., None]] = {
    "type": _type,
    "minLength": _copy("minLength"),
    "maxLength": _max_length,
    "pattern": _pattern,
    "format": _format,
}
