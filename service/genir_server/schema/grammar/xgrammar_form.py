"""The form of an engine schema that vLLM lets xgrammar have.

vLLM refuses schemas with keywords that xgrammar does not enforce (`backend_xgrammar.py` there has
the list). They are taken out here, so that going back to xgrammar loses no schema: what decoding
does not enforce then, verification does. A length beside a simple pattern becomes part of the
pattern.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from genir_server.domain.types import Enforcement, SchemaNotice
from genir_server.schema.read.pointer import child, lookup

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, object]
Held: TypeAlias = tuple[Any, str | int, str]
"""A part of a schema: what holds it (a dict or a list), under what, and its pointer."""

_MOST_NOTICES = 100
_ITEM_KEYWORDS = ("uniqueItems", "contains", "minContains", "maxContains")
_LENGTHS = ("minLength", "maxLength")
_FORMATS = frozenset(
    {
        *("email", "date", "time", "date-time", "duration", "ipv4", "ipv6", "hostname", "uuid"),
        *("uri", "uri-reference", "uri-template", "json-pointer", "relative-json-pointer"),
    }
)
# One character, then any number of another kind, as identifiers are described.
_CHARACTER = r"(?:\[[^\[\]\\]+\]|[A-Za-z0-9_])"
_REPEATED = re.compile(rf"\^(?P<head>{_CHARACTER}*)(?P<kind>{_CHARACTER})(?P<sign>[*+])\$")


def xgrammar_form(schema: Schema, original: object) -> tuple[Schema, tuple[SchemaNotice, ...]]:
    """A wider schema without what xgrammar does not enforce.

    Args:
        schema: an engine schema.
        original: the caller's schema that it was made of, where most of its parts have their place.

    Returns:
        The schema, and a notice for everything that was taken out.

    """
    taken: list[tuple[str, str]] = []
    form = _loosened(schema, "", taken)
    pending = list(_children(form, ""))
    while pending:
        holder, key, pointer = pending.pop()
        part = holder[key]
        if isinstance(part, dict):
            loosened = _loosened(part, pointer, taken)
            holder[key] = loosened
            pending.extend(_children(loosened, pointer))
    places = dict.fromkeys(
        (keyword, _place(original, pointer, keyword)) for keyword, pointer in taken
    )
    return form, tuple(
        SchemaNotice(keyword, place, Enforcement.CHECKED_AFTER_DECODING)
        for keyword, place in list(places)[:_MOST_NOTICES]
    )


def _place(original: object, pointer: str, keyword: str) -> str:
    """Where the caller's schema has the keyword; the root where that cannot be told."""
    try:
        found = lookup(original, pointer)
    except KeyError:
        return ""
    return pointer if isinstance(found, dict) and keyword in found else ""


def _loosened(schema: Schema, pointer: str, taken: list[tuple[str, str]]) -> Schema:
    kept = dict(schema)

    def take(*keywords: str) -> None:
        taken.extend((keyword, pointer) for keyword in keywords if keyword in kept)
        for keyword in keywords:
            kept.pop(keyword, None)

    take("multipleOf", *_ITEM_KEYWORDS, "propertyNames")
    if kept.get("format") not in (None, *_FORMATS):
        take("format")
    if "pattern" in kept and any(length in kept for length in _LENGTHS):
        bounded = _bounded_pattern(kept)
        if bounded is None:
            take(*_LENGTHS)
        else:
            kept["pattern"] = bounded
            for length in _LENGTHS:
                kept.pop(length, None)
    if "format" in kept:
        take(*_LENGTHS)
    patterns = kept.get("patternProperties")
    if isinstance(patterns, dict) and ("properties" in kept or len(patterns) > 1):
        take("patternProperties", "additionalProperties")
    branches = kept.get("allOf")
    if isinstance(branches, list) and len(branches) > 1:
        kept["allOf"] = branches[:1]
        taken.append(("allOf", pointer))
    return kept


def _bounded_pattern(schema: Schema) -> str | None:
    """One pattern for a pattern and lengths; None where that is not simple."""
    found = _REPEATED.fullmatch(str(schema["pattern"]))
    if found is None:
        return None
    head = len(re.findall(_CHARACTER, found["head"]))
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if not isinstance(least, int) or not isinstance(most, int | None):
        return None
    least = max(least - head, 1 if found["sign"] == "+" else 0)
    if most is not None and most - head < least:
        return None
    bounds = f"{{{least},{'' if most is None else most - head}}}"
    return f"^{found['head']}{found['kind']}{bounds}$"


def _children(schema: Schema, pointer: str) -> Iterator[Held]:
    """Where parts of a schema are held, copied so that they can be changed."""
    for keyword in ("properties", "patternProperties", "$defs"):
        named = schema.get(keyword)
        if isinstance(named, dict):
            schema[keyword] = named = dict(named)
            for name in named:
                yield named, name, child(pointer, keyword, name)
    for keyword in ("prefixItems", "allOf", "anyOf", "oneOf"):
        listed = schema.get(keyword)
        if isinstance(listed, list):
            schema[keyword] = listed = list(listed)
            for index in range(len(listed)):
                yield listed, index, child(pointer, keyword, index)
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield schema, keyword, child(pointer, keyword)
