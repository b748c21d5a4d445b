"""Reports keywords that have no meaning where they stand, though their author meant something."""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from genir_server.domain.types import Enforcement
from genir_server.schema.read import drafts
from genir_server.schema.read.vocabulary import ASSERTIONS, Draft, known
from genir_server.schema.read.wrappers import wrapped_schema

if TYPE_CHECKING:
    from genir_server.schema.read.document import Node
    from genir_server.schema.relax.context import Context

_NOT_A_LETTER = re.compile("[^a-z]")
# Shorter words are too often words of their own, such as "note" beside "not".
_MIN_LETTERS = 4
_MAX_LETTERS = 30
_SIMILARITY = 0.84
# Comparing takes about 0.1 ms, and a schema may have thousands of keywords of its own.
_MAX_COMPARED = 200


def note_unknown(context: Context, node: Node, keyword: str) -> None:
    """Reports a keyword that nothing reads, if it seems to be meant for something.

    Args:
        context: gets the notice.
        node: the schema with the keyword.
        keyword: one that is no annotation of the schema's draft and that is not converted.

    """
    draft = context.document.draft
    detail = None
    if not known(keyword, draft):
        detail = f"draft {draft.label} gives this keyword no meaning{_why(context)}"
    elif keyword == "nullable":
        if node.keywords[keyword] is True:
            detail = 'no keyword of JSON Schema: null needs a type such as ["string", "null"]'
    elif context.compared < _MAX_COMPARED:
        context.compared += 1
        meant = _meant(keyword, draft)
        if meant is not None:
            detail = f"no keyword of JSON Schema: {meant} may be meant"
    if detail is not None:
        context.note(node, keyword, Enforcement.ANNOTATION, detail)


def note_wrapper(context: Context) -> None:
    """Reports a schema that says nothing itself but contains one, as requests to other APIs do."""
    pointer = wrapped_schema(context.document.root)
    if pointer is not None:
        root = context.document.nodes[""]
        detail = f"the schema itself allows everything: send the value of {pointer} instead"
        context.note(root, pointer[1:].partition("/")[0], Enforcement.ANNOTATION, detail)


def note_ignored(context: Context, node: Node) -> None:
    """Reports keywords beside `$ref`, which drafts up to 7 ignore."""
    for keyword in node.keywords:
        if keyword in ASSERTIONS and keyword != "$ref":
            detail = f"draft {context.document.draft.label} ignores keywords beside $ref"
            context.note(node, keyword, Enforcement.ANNOTATION, detail + _why(context))


def _why(context: Context) -> str:
    """Why the schema has its draft, if it does not say so itself."""
    root = context.document.root
    if isinstance(root, bool) or "$schema" in root:
        return ""
    if context.obstacle is None:
        context.obstacle = drafts.obstacle(root)
    if not context.obstacle:
        return ""
    return f", and without $schema {context.obstacle} makes it this draft"


@lru_cache(maxsize=4_096)
def _meant(keyword: str, draft: Draft) -> str | None:
    """The keyword that a misspelt one seems to stand for; None if it resembles none."""
    name = _folded(keyword)
    if keyword.startswith("x-") or len(name) > _MAX_LETTERS:
        return None
    names = {_folded(one): one for one in sorted(ASSERTIONS) if known(one, draft)}
    if name in names:
        return names[name]
    if len(name) < _MIN_LETTERS:
        return None
    candidates = [one for one in names if len(one) >= _MIN_LETTERS]
    found = difflib.get_close_matches(name, candidates, n=1, cutoff=_SIMILARITY)
    return names[found[0]] if found else None


def _folded(keyword: str) -> str:
    return _NOT_A_LETTER.sub("", keyword.lower())
