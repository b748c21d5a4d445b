"""Keywords about arrays, written in the words of 2020-12."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.relax.negation import literal_key
from genir_server.schema.relax.scalars import whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.schema.read.document import Node
    from genir_server.schema.relax.context import Context, EngineSchema

_MOST_ITEMS = 1_000
_MOST_DISTINCT = 4
_TIGHTER_IN_PLACE = ("allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef", "dependentSchemas")


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
    most = node.keywords.get("maxItems")
    if node.keywords["uniqueItems"] is not True:
        return
    if isinstance(most, int | float) and most <= 1:
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
    """Every array of distinct items, when the items have few values; None when there are many."""
    values = _item_values(context, node)
    if values is None or len(values) > _MOST_DISTINCT:
        return None
    least, most = node.keywords.get("minItems", 0), node.keywords.get("maxItems", len(values))
    if not isinstance(least, int | float) or not isinstance(most, int | float):
        return None
    return [
        list(chosen)
        for length in range(int(least), min(int(most), len(values)) + 1)
        for chosen in permutations(values, length)
    ]


def _item_values(context: Context, node: Node) -> list[object] | None:
    """The distinct values of every item, when an `enum` alone names them."""
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
    least = node.keywords.get("minContains", 1)
    if context.document.draft < Draft.DRAFT201909:
        least = 1
    if isinstance(least, int | float) and least >= 1:
        extra.append(
            {"minItems": int(least)}
            if _only_arrays(node)
            else {"anyOf": [{"type": _OTHERS}, {"type": "array", "minItems": int(least)}]}
        )
    if least != 0 or "maxContains" in node.keywords:
        context.unchecked(node, "contains", "the engine cannot count such items")


def _unevaluated_items(
    context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]
) -> None:
    target = node.target("unevaluatedItems")
    keywords = node.keywords
    if target is None or context.document.nodes[target].value is True:
        return
    if any(keyword in keywords for keyword in (*_TIGHTER_IN_PLACE, "contains")):
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


def _max_items(
    context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]
) -> None:
    most = node.keywords["maxItems"]
    if isinstance(most, int | float) and most > _MOST_ITEMS:
        context.capped[id(schema)] = int(most)
        context.unchecked(node, "maxItems", "the engine has no room for so many items")
    else:
        schema["maxItems"] = whole(most)


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
