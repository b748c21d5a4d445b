"""Converts keywords about arrays to those of draft 2020-12."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from genir_server.schema.read.vocabulary import REFERENCES, Draft
from genir_server.schema.relax.negation import literal_key
from genir_server.schema.relax.number_bounds import whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.schema.read.document import Node
    from genir_server.schema.relax.context import Context, EngineSchema
    from genir_server.schema.relax.part import Part

_MAX_ITEMS = 1_000
_MAX_DISTINCT = 4
_IN_PLACE = ("allOf", "anyOf", "oneOf", "if", "dependentSchemas", "dependencies", *REFERENCES)


def _items(context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]) -> None:
    if isinstance(node.keywords["items"], list):
        schema["prefixItems"] = [
            context.use(edge.target) for edge in node.edges if edge.keyword == "items"
        ]
    else:
        target = node.target("items")
        if target is not None:
            schema["items"] = context.use(target)


def _additional_items(
    context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]
) -> None:
    target = node.target("additionalItems")
    if isinstance(node.keywords.get("items"), list) and target is not None:
        schema["items"] = context.use(target)


def _prefix_items(
    context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]
) -> None:
    schema["prefixItems"] = [
        context.use(edge.target) for edge in node.edges if edge.keyword == "prefixItems"
    ]


def _unique_items(
    context: Context, node: Node, _: dict[str, object], extra: list[EngineSchema]
) -> None:
    max_items = node.keywords.get("maxItems")
    if node.keywords["uniqueItems"] is not True:
        return
    if isinstance(max_items, int | float) and max_items <= 1:
        return
    arrays = _distinct_arrays(context, node)
    if arrays is None:
        context.unchecked(node, "uniqueItems", "the engine cannot compare items")
        return
    extra.append(
        {"enum": arrays} if _only_arrays(node) else {"anyOf": [{"type": _OTHERS}, {"enum": arrays}]}
    )
    context.rewritten(node, "uniqueItems", f"as one of {len(arrays)} arrays")


_OTHERS = ["null", "boolean", "number", "string", "object"]


def _only_arrays(node: Node) -> bool:
    return node.keywords.get("type") == "array"


def _distinct_arrays(context: Context, node: Node) -> list[list[object]] | None:
    """All arrays of distinct items, if the items have few values; otherwise None."""
    values = _item_values(context, node)
    if values is None or len(values) > _MAX_DISTINCT:
        return None
    low, high = node.keywords.get("minItems", 0), node.keywords.get("maxItems", len(values))
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    return [
        list(chosen)
        for length in range(int(low), min(int(high), len(values)) + 1)
        for chosen in permutations(values, length)
    ]


def _item_values(context: Context, node: Node) -> list[object] | None:
    """The distinct values of an item, if an `enum` lists them."""
    target = node.target("items")
    modern = context.document.draft is Draft.DRAFT202012
    if target is None or (modern and "prefixItems" in node.keywords):
        return None
    items = context.resolve(context.use(target))
    if not isinstance(items, dict) or set(items) - {"enum", "type"}:
        return None
    values = items.get("enum")
    if not isinstance(values, list):
        return None
    return list({literal_key(value): value for value in values}.values())


def _contains(
    context: Context, node: Node, _: dict[str, object], extra: list[EngineSchema]
) -> None:
    min_contains = node.keywords.get("minContains", 1)
    if context.document.draft < Draft.DRAFT201909:
        min_contains = 1
    if isinstance(min_contains, int | float) and min_contains >= 1:
        extra.append(
            {"minItems": int(min_contains)}
            if _only_arrays(node)
            else {"anyOf": [{"type": _OTHERS}, {"type": "array", "minItems": int(min_contains)}]}
        )
    if min_contains != 0 or "maxContains" in node.keywords:
        context.unchecked(node, "contains", "the engine cannot count such items")


def _unevaluated_items(
    context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]
) -> None:
    target = node.target("unevaluatedItems")
    keywords = node.keywords
    if target is None or context.document.nodes[target].value is True:
        return
    if any(keyword in keywords for keyword in (*_IN_PLACE, "contains")):
        context.unchecked(node, "unevaluatedItems", "the engine cannot tell which items are left")
    elif not ({"items", "additionalItems"} & keywords.keys()) or (
        isinstance(keywords.get("items"), list) and "additionalItems" not in keywords
    ):
        schema["items"] = context.use(target)
        context.rewritten(node, "unevaluatedItems", "as items")


def _count(keyword: str) -> Callable[..., None]:
    def convert(_: Context, node: Node, schema: dict[str, object], __: list[EngineSchema]) -> None:
        schema[keyword] = whole(node.keywords[keyword])

    return convert


def _max_items(context: Context, node: Node, schema: Part, _: list[EngineSchema]) -> None:
    max_items = node.keywords["maxItems"]
    if isinstance(max_items, int | float) and max_items > _MAX_ITEMS:
        schema.capped_items = int(max_items)
        context.unchecked(node, "maxItems", "the engine does not support so many items")
    else:
        schema["maxItems"] = whole(max_items)


CONVERTERS: dict[str, Callable[..., None]] = {
    "items": _items,
    "additionalItems": _additional_items,
    "prefixItems": _prefix_items,
    "minItems": _count("minItems"),
    "maxItems": _max_items,
    "uniqueItems": _unique_items,
    "contains": _contains,
    "unevaluatedItems": _unevaluated_items,
}
