"""Leaves to the verifier what the engine cannot combine about one text.

The engine intersects patterns and lengths while it decodes. Where that takes too much work, it
stops: a text that the schema allows can then not be written to its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.domain.types import Enforcement, SchemaNotice
from genir_server.schema.pattern.lengths import text_lengths
from genir_server.schema.read.pointer import child
from genir_server.schema.relax.conjunctions import conjunctions
from genir_server.schema.relax.part import Part
from genir_server.schema.relax.text_facts import can_be_text, facts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genir_server.schema.relax.context import Context, EngineSchema

_LENGTHS = ("minLength", "maxLength")
_DETAIL = "the engine cannot combine it with the pattern"


def simplify_texts(context: Context, root: EngineSchema) -> None:
    """Drops, in place, lengths that patterns imply, and what the engine cannot combine.

    Args:
        context: the relaxation; it gets notices.
        root: the schema with its `$defs`.

    """
    if not isinstance(root, dict):
        return
    for parts in conjunctions(root):
        for part in parts:
            _drop_implied_lengths(part)
        if not can_be_text(parts):
            continue
        facts = facts_of(parts)
        if not facts.is_combined or context.oracle.writes_texts(facts):
            continue
        for part in parts:
            _leave(context, part, _LENGTHS)
        facts = facts_of(parts)
        if facts.is_combined and not context.oracle.writes_texts(facts):
            holders = [part for part in parts if "pattern" in part]
            for part in holders[1:] if not facts.formats else holders:
                _leave(context, part, ("pattern",))


def _drop_implied_lengths(part: dict[str, object]) -> None:
    pattern = part.get("pattern")
    if not isinstance(pattern, str) or part.keys().isdisjoint(_LENGTHS):
        return
    low, high = text_lengths(pattern)
    least, most = part.get("minLength"), part.get("maxLength")
    if isinstance(least, int) and least <= low:
        del part["minLength"]
    if isinstance(most, int) and high is not None and high <= most:
        del part["maxLength"]


def _leave(context: Context, part: dict[str, object], keywords: Sequence[str]) -> None:
    """Drops keywords of a part, and reports them where the caller has them."""
    for keyword in keywords:
        if part.pop(keyword, None) is None:
            continue
        origin = part.origin if isinstance(part, Part) else None
        name, where = _source(context, origin, keyword)
        context.notices[where, name] = SchemaNotice(
            name, where, Enforcement.CHECKED_AFTER_DECODING, _DETAIL
        )


def _source(context: Context, origin: str | None, keyword: str) -> tuple[str, str]:
    """The caller's keyword that an engine keyword stands for, and its pointer."""
    node = None if origin is None else context.document.nodes.get(origin)
    if node is not None:
        for name in (keyword, "format", "not") if keyword == "pattern" else (keyword, "not"):
            if name in node.keywords:
                return name, child(node.pointer, name)
    return keyword, child(origin or "", keyword)
