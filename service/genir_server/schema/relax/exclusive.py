"""Converts `oneOf` to `anyOf`: proves its alternatives disjoint, or makes them disjoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.relax.combining import beside
from genir_server.schema.relax.disjoint import disjoint
from genir_server.schema.relax.negation import negate

if TYPE_CHECKING:
    from genir_server.schema.read.document import Node
    from genir_server.schema.relax.context import Context, EngineSchema

_MAX_COMPARED = 150
_MAX_EXCLUSIONS = 6


def resolve(context: Context) -> None:
    """Turns every `oneOf` of the converted schemas into `anyOf`."""
    for pointer, node in context.document.nodes.items():
        schema = context.converted[pointer]
        if isinstance(schema, dict) and isinstance(schema.get("oneOf"), list):
            context.converted[pointer] = _resolve(context, node, schema)


def _resolve(context: Context, node: Node, schema: dict[str, object]) -> EngineSchema:
    targets = [edge.target for edge in node.edges if edge.keyword == "oneOf"]
    pairs = [
        (target, context.use(target))
        for target in targets
        if context.resolve(context.use(target)) is not False
    ]
    options = _disjoint_alternatives(context, node, pairs)
    if node.pointer in context.mixed:
        options = [beside(context, node, "oneOf", option) for option in options]
    # At the same position among the keywords, which keeps the order of properties.
    result: dict[str, object] = {}
    for keyword, value in schema.items():
        if keyword == "oneOf":
            new_keyword, new_value = _replacement(options, combined="anyOf" in schema)
        else:
            new_keyword, new_value = keyword, value
        if new_keyword == "allOf":
            result["allOf"] = [*_list(result.get("allOf")), *_list(new_value)]
        elif new_keyword:
            result[new_keyword] = new_value
    # Other schemas refer to this object, so it is changed in place.
    schema.clear()
    schema.update(result)
    return schema


def _replacement(options: list[EngineSchema], *, combined: bool) -> tuple[str, object]:
    """The keyword and value that replace `oneOf`; no keyword if any value is valid."""
    if not options:
        return "allOf", [False]
    if any(option is True for option in options):
        return "", None
    return ("allOf", [{"anyOf": options}]) if combined else ("anyOf", options)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _disjoint_alternatives(
    context: Context, node: Node, pairs: list[tuple[str, EngineSchema]]
) -> list[EngineSchema]:
    options = [schema for _, schema in pairs]
    if len(pairs) > _MAX_COMPARED:
        context.unchecked(node, "oneOf", "there are too many alternatives to compare")
        return options
    overlapping = [
        (first, second)
        for first in range(len(pairs))
        for second in range(first + 1, len(pairs))
        if not disjoint(context, options[first], options[second])
    ]
    if not overlapping:
        return options
    if len(overlapping) <= _MAX_EXCLUSIONS and not context.options.plain_conditions:
        disjoint_options = _made_disjoint(context, pairs, overlapping)
        if disjoint_options is not None:
            context.rewritten(node, "oneOf", "overlapping alternatives are made disjoint")
            return disjoint_options
    context.unchecked(node, "oneOf", "the alternatives may overlap")
    return options


def _made_disjoint(
    context: Context,
    pairs: list[tuple[str, EngineSchema]],
    overlapping: list[tuple[int, int]],
) -> list[EngineSchema] | None:
    """Each alternative without its overlap with others; None if that cannot be expressed."""
    needed = {index for pair in overlapping for index in pair}
    complements = {index: negate(context.document, pairs[index][0]) for index in needed}
    if not all(complement.exact for complement in complements.values()):
        return None
    options: list[EngineSchema] = []
    for index, (_, schema) in enumerate(pairs):
        others = [
            complements[other].schema
            for pair in overlapping
            if index in pair
            for other in pair
            if other != index
        ]
        if any(other is False for other in others):
            continue
        kept = [other for other in others if other is not True]
        options.append({"allOf": [schema, *kept]} if kept else schema)
    return options
