"""Bounds on strings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.pattern.lengths import text_lengths
from genir_server.schema.relax.conjunctions import conjunctions
from genir_server.schema.relax.formats import USUAL_FORMS
from genir_server.schema.relax.part import Part
from genir_server.schema.relax.text_facts import can_be_text, facts_of

if TYPE_CHECKING:
    from genir_server.schema.narrow.context import Narrowing, Schema

# The only format of the engine that texts of any length have.
_UNBOUNDED_FORMAT = "uri"


def use_usual_form(narrowing: Narrowing, schema: Schema, pointer: str) -> None:
    """Replaces a pattern that is wider than its format by one for the format's usual form."""
    name = schema.wide_format if isinstance(schema, Part) else None
    if name is None:
        return
    form, detail = USUAL_FORMS[name]
    usual, own = form.get("maxLength"), schema.get("maxLength")
    if isinstance(usual, int) and isinstance(own, int):
        form = {**form, "maxLength": min(usual, own)}
    narrowing.change_text(schema, form, pointer, "format", detail)


def bound_string(narrowing: Narrowing, schema: Schema, pointer: str) -> None:
    """Sets `maxLength`, unless the schema, a format or a pattern already bounds the string."""
    if schema.get("format", _UNBOUNDED_FORMAT) != _UNBOUNDED_FORMAT:
        return
    pattern = schema.get("pattern")
    has_format_pattern = isinstance(schema, Part) and schema.wide_format is not None
    if has_format_pattern or (isinstance(pattern, str) and text_lengths(pattern)[1] is not None):
        return
    usual = narrowing.bounds.string_characters
    if pattern is not None:
        usual = narrowing.bounds.pattern_characters or usual
    max_length = max(usual, 2 * narrowing.minimum("minLength"))
    if "maxLength" in schema and (
        "pattern" in schema or narrowing.keeps(schema["maxLength"], max_length)
    ):
        return
    bound: Schema = {"maxLength": max_length}
    narrowing.change_text(schema, bound, pointer, "maxLength", f"at most {max_length} characters")


def undo_unwritable(narrowing: Narrowing, root: Schema) -> None:
    """Takes back what the engine cannot combine with other keywords about the same text."""
    if not narrowing.texts:
        return
    for parts in conjunctions(root):
        changed = [part for part in parts if id(part) in narrowing.texts]
        facts = facts_of(parts)
        if not changed or not facts.is_combined or not can_be_text(parts):
            continue
        if not narrowing.oracle.writes_texts(facts):
            for part in changed:
                narrowing.undo_texts(part)
