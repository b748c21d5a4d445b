"""Converts references and keywords that combine schemas for one value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.read.vocabulary import ANNOTATIONS, ASSERTIONS
from genir_server.schema.relax.negation import negate

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.schema.read.document import Node
    from genir_server.schema.relax.context import Context, EngineSchema


# The engine has room for 2,000 items in a row.
_MAX_COPIED_PROPERTIES = 1_500
_CYCLE_BESIDE_KEYWORDS = "the engine cannot combine a cycle with other keywords"
_TOO_RECURSIVE = "the engine cannot combine a recursive schema with other keywords"


def reference(
    context: Context,
    node: Node,
    keyword: str,
    schema: dict[str, object],
    extra: list[EngineSchema],
) -> None:
    """Adds the target of a reference."""
    if keyword in node.meta_references:
        context.unchecked(node, keyword, "the engine does not get the meta-schema")
        return
    target = node.target(keyword)
    if target is None:
        return
    if context.document.is_dynamic(node, keyword):
        context.unchecked(node, keyword, "the engine does not support dynamic references")
        return
    if target in context.recursive and not _alone(node, keyword):
        context.unchecked(node, keyword, _TOO_RECURSIVE)
        return
    if node.pointer in context.mixed:
        if context.options.cut_circular:
            context.unchecked(node, keyword, _CYCLE_BESIDE_KEYWORDS)
        else:
            extra.append(context.use_beside(target))
        return
    use = context.use(target)
    if isinstance(use, dict) and "$ref" not in schema:
        schema.update(use)
    else:
        extra.append(use)


def _parts(context: Context, node: Node, keyword: str) -> list[EngineSchema]:
    return [context.use(edge.target) for edge in node.edges if edge.keyword == keyword]


def _all_of(context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]) -> None:
    parts = _without_recursion(context, node)
    if node.pointer in context.mixed:
        parts = [beside(context, node, "allOf", part) for part in parts]
    kept = [part for part in parts if part is not True]
    if kept:
        schema["allOf"] = kept


def _alone(node: Node, keyword: str) -> bool:
    """Whether the schema has no other keyword that matters for validity."""
    return not node.keywords.keys() - ANNOTATIONS - {keyword}


def _without_recursion(context: Context, node: Node) -> list[EngineSchema]:
    """The parts of `allOf`, without those that lead into a cycle beside other parts."""
    targets = [edge.target for edge in node.edges if edge.keyword == "allOf"]
    kept = [target for target in targets if target not in context.recursive]
    if not kept and _alone(node, "allOf"):
        kept = targets[:1]
    if len(kept) < len(targets):
        context.unchecked(node, "allOf", _TOO_RECURSIVE)
    return [context.use(target) for target in kept]


def beside(context: Context, node: Node, keyword: str, part: EngineSchema) -> EngineSchema:
    """A part of a combination in a cycle, with its reference replaced by the target or dropped."""
    if not isinstance(part, dict) or set(part) != {"$ref"}:
        return part
    pointer = context.pointer_of(part)
    if pointer is None:
        return part
    if context.options.cut_circular:
        context.unchecked(node, keyword, _CYCLE_BESIDE_KEYWORDS)
        return True
    return context.use_beside(pointer)


def _any_of(
    context: Context, node: Node, schema: dict[str, object], extra: list[EngineSchema]
) -> None:
    if _leaves_count(context, node, "anyOf"):
        return
    parts = _parts(context, node, "anyOf")
    if node.pointer in context.mixed:
        parts = [beside(context, node, "anyOf", part) for part in parts]
    if any(part is True for part in parts):
        return
    kept = [part for part in parts if part is not False]
    if kept:
        schema["anyOf"] = kept
    else:
        extra.append(False)


def _one_of(context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]) -> None:
    if _leaves_count(context, node, "oneOf"):
        return
    # `exclusive.resolve` turns it into anyOf once every schema is converted.
    schema["oneOf"] = _parts(context, node, "oneOf")


def _leaves_count(context: Context, node: Node, keyword: str) -> bool:
    """Leaves alternatives about the properties of one object to the verifier, if they are many."""
    options = [edge.target for edge in node.edges if edge.keyword == keyword]
    only_required = all(
        ASSERTIONS & context.document.nodes[option].keywords.keys() <= {"required", "type"}
        for option in options
    )
    are_many = _are_many(node, len(options))
    if context.options.plain_counts:
        leaves = only_required or are_many
    else:
        leaves = only_required and are_many
    if leaves:
        context.unchecked(node, keyword, "the engine cannot count these properties")
    return leaves


def _are_many(node: Node, options: int) -> bool:
    """Whether the engine has no room for a copy of an object for each of some alternatives."""
    properties = node.keywords.get("properties")
    return isinstance(properties, dict) and options * len(properties) > _MAX_COPIED_PROPERTIES


def _not(context: Context, node: Node, _: dict[str, object], extra: list[EngineSchema]) -> None:
    target = node.target("not")
    if target is None:
        return
    negation = negate(context.document, target)
    options = negation.schema.get("anyOf", []) if isinstance(negation.schema, dict) else []
    are_many = isinstance(options, list) and _are_many(node, len(options))
    if context.options.plain_conditions or are_many:
        context.unchecked(node, "not", "the engine cannot express this complement")
        return
    extra.append(negation.schema)
    if negation.exact:
        context.rewritten(node, "not", "as the complement")
    else:
        context.unchecked(node, "not", "the engine cannot express this complement")


def _if(context: Context, node: Node, _: dict[str, object], extra: list[EngineSchema]) -> None:
    condition = node.target("if")
    then, otherwise = node.target("then"), node.target("else")
    if condition is None or (then is None and otherwise is None):
        return
    negation = negate(context.document, condition)
    if context.options.plain_conditions:
        context.unchecked(node, "if", "the engine cannot express this condition")
        return
    met = _both(context.use(condition), True if then is None else context.use(then))
    unmet = _both(negation.schema, True if otherwise is None else context.use(otherwise))
    options = [option for option in (met, unmet) if option is not False]
    if not any(option is True for option in options):
        extra.append({"anyOf": options} if options else False)
    if negation.exact:
        context.rewritten(node, "if", "as alternatives with and without the condition")
    else:
        context.unchecked(node, "if", "the engine cannot express the complement of the condition")


def _both(first: EngineSchema, second: EngineSchema) -> EngineSchema:
    if first is True or second is False:
        return second
    if second is True or first is False:
        return first
    return {"allOf": [first, second]}


CONVERTERS: dict[str, Callable[..., None]] = {
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
}
