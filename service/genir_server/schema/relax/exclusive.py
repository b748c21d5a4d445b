"""`oneOf`: shows that its alternatives exclude one another, or makes them do so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.relax.combining import beside
from genir_server.schema.relax.disjoint import disjoint
from genir_server.schema.relax.negation import negate

if TYPE_CHECKING:
    from genir_server.schema.read.document import Node
    from genir_server.schema.relax.context import Context, EngineSchema

_MOST_COMPARED = 150
_MOST_EXCLUSIONS = 6


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
    options = _exclusive(context, node, pairs)
    if node.pointer in context.mixed:
        options = [beside(context, node, "oneOf", option) for option in options]
    # In the same place, so that the order of properties stays.
    result: dict[str, object] = {}
    for keyword, value in schema.items():
        if keyword == "oneOf":
            instead, said = _instead(options, combined="anyOf" in schema)
        else:
            instead, said = keyword, value
        if instead == "allOf":
            result["allOf"] = [*_list(result.get("allOf")), *_list(said)]
        elif instead:
            result[instead] = said
    # Schemas that others hold are held by identity, so this one keeps its own.
    schema.clear()
    schema.update(result)
    return schema


def _instead(options: list[EngineSchema], *, combined: bool) -> tuple[str, object]:
    """The keyword and value that stand for alternatives; no keyword when anything fits."""
    if not options:
        return "allOf", [False]
    if any(option is True for option in options):
        return "", None
    return ("allOf", [{"anyOf": options}]) if combined else ("anyOf", options)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _exclusive(
    context: Context, node: Node, pairs: list[tuple[str, EngineSchema]]
) -> list[EngineSchema]:
    options = [schema for _, schema in pairs]
    if len(pairs) > _MOST_COMPARED:
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
    if len(overlapping) <= _MOST_EXCLUSIONS and not context.options.plain_conditions:
        excluding = _excluding(context, pairs, overlapping)
        if excluding is not None:
            context.rewritten(node, "oneOf", "alternatives that overlap exclude one another")
            return excluding
    context.unchecked(node, "oneOf", "the alternatives may overlap")
    return options


def _excluding(
    context: Context,
    pairs: list[tuple[str, EngineSchema]],
    overlapping: list[tuple[int, int]],
) -> list[EngineSchema] | None:
    """Each alternative without what it shares with others; None when that cannot be said."""
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
