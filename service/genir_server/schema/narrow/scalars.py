"""Bounds on strings and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.relax.formats import USUAL_FORMS

if TYPE_CHECKING:
    from genir_server.schema.narrow.context import Narrowing, Schema

# The only format of the engine that texts of any length have.
_UNBOUNDED_FORMAT = "uri"


def use_usual_form(narrowing: Narrowing, schema: Schema, pointer: str) -> None:
    """Replaces a pattern that is wider than its format by one for the format's usual form."""
    name = narrowing.relaxed.formats.get(id(schema))
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
    has_format_pattern = id(schema) in narrowing.relaxed.formats
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


def bound_number(narrowing: Narrowing, schema: Schema, pointer: str, *, fraction: bool) -> None:
    """Sets bounds on a number, and on its decimal places where `fraction` is true."""
    largest = 10**narrowing.bounds.integer_digits - 1
    low = {"minimum", "exclusiveMinimum"} & schema.keys()
    high = {"maximum", "exclusiveMaximum"} & schema.keys()
    edges = [schema[keyword] for keyword in (*low, *high)]
    if any(isinstance(edge, int | float) and abs(edge) >= largest for edge in edges):
        return
    divisor = narrowing.relaxed.divisors.get(id(schema))
    if divisor is not None:
        schema["multipleOf"] = divisor
        narrowing.note(pointer, "multipleOf", "only numbers from 0 up")
        if not low:
            schema["minimum"] = 0
    elif not low:
        schema["minimum"] = -largest
        narrowing.note(pointer, "minimum", f"at least {-largest}")
    if not high:
        schema["maximum"] = largest
        narrowing.note(pointer, "maximum", f"at most {largest}")
    if fraction and "multipleOf" not in schema:
        # The engine enforces multipleOf only for numbers from 0 up.
        positive = any(isinstance(edge, int | float) and edge >= 0 for edge in edges[: len(low)])
        _bound_decimal_places(narrowing, schema, pointer, low, positive=positive)


def _bound_decimal_places(
    narrowing: Narrowing, schema: Schema, pointer: str, low: set[str], *, positive: bool
) -> None:
    digits = narrowing.bounds.fraction_digits
    step = float(f"1e-{digits}")
    if positive:
        schema["multipleOf"] = step
        narrowing.note(pointer, "multipleOf", f"at most {digits} decimal places")
    elif narrowing.bounds.over_own_bounds and _allows_positive(schema):
        for keyword in low:
            del schema[keyword]
        schema["minimum"] = 0
        schema["multipleOf"] = step
        narrowing.note(
            pointer, "multipleOf", f"at most {digits} decimal places, only numbers from 0 up"
        )


def _allows_positive(schema: Schema) -> bool:
    """Whether the bounds of a schema allow numbers above 0."""
    edges = (schema.get("maximum"), schema.get("exclusiveMaximum"))
    return not any(isinstance(edge, int | float) and edge <= 0 for edge in edges)


def _is_open_ended(pattern: str) -> bool:
    """Whether a regular expression may match texts of any length."""
    anchored = pattern.startswith("^") and pattern.endswith("$") and not pattern.endswith("\\$")
    return not anchored or any(sign in pattern for sign in ("*", "+", ",}"))
