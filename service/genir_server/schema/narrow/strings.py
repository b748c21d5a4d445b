"""Bounds on strings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.relax.formats import USUAL_FORMS
from genir_server.schema.relax.part import Part

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
    schema.update(form)
    if isinstance(usual, int) and isinstance(own, int):
        schema["maxLength"] = min(usual, own)
    narrowing.note(pointer, "format", detail)


def bound_string(narrowing: Narrowing, schema: Schema, pointer: str) -> None:
    """Sets `maxLength`, unless the schema, a format or a pattern already bounds the string."""
    if schema.get("format", _UNBOUNDED_FORMAT) != _UNBOUNDED_FORMAT:
        return
    pattern = schema.get("pattern")
    has_format_pattern = isinstance(schema, Part) and schema.wide_format is not None
    if has_format_pattern or (isinstance(pattern, str) and not _is_open_ended(pattern)):
        return
    usual = narrowing.bounds.string_characters
    if pattern is not None:
        usual = narrowing.bounds.pattern_characters or usual
    max_length = max(usual, 2 * narrowing.minimum("minLength"))
    if "maxLength" in schema and (
        "pattern" in schema or narrowing.keeps(schema["maxLength"], max_length)
    ):
        return
    schema["maxLength"] = max_length
    narrowing.note(pointer, "maxLength", f"at most {max_length} characters")


def _is_open_ended(pattern: str) -> bool:
    """Whether a regular expression may match texts of any length."""
    anchored = pattern.startswith("^") and pattern.endswith("$") and not pattern.endswith("\\$")
    return not anchored or any(sign in pattern for sign in ("*", "+", ",}"))
