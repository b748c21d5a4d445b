"""The form of an engine schema that vLLM accepts with the backend xgrammar.

vLLM refuses schemas with keywords that xgrammar does not enforce (`backend_xgrammar.py` there has
the list). They are removed here and left to the verifier, so that every schema that works with
llguidance also works with xgrammar. A length beside a simple pattern becomes part of the pattern.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from genir_server.domain.types import Enforcement, SchemaNotice
from genir_server.schema.read.pointer import child, lookup

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, object]
Slot: TypeAlias = tuple[Any, str | int, str]
"""Where a part of a schema is: the dict or list that contains it, key or index, and pointer."""

_MAX_NOTICES = 100
_ITEM_KEYWORDS = ("uniqueItems", "contains", "minContains", "maxContains")
_LENGTHS = ("minLength", "maxLength")
_FORMATS = frozenset(
    {
        *("email", "date", "time", "date-time", "duration", "ipv4", "ipv6", "hostname", "uuid"),
        *("uri", "uri-reference", "uri-template", "json-pointer", "relative-json-pointer"),
    }
)
# Some characters, then any number of another kind: the usual pattern of an identifier.
_CHARACTER = r"(?:\[[^\[\]\\]+\]|[A-Za-z0-9_])"
_REPEATED = re.compile(rf"\^(?P<head>{_CHARACTER}*)(?P<kind>{_CHARACTER})(?P<sign>[*+])\$")


def xgrammar_form(schema: Schema, original: object) -> tuple[Schema, tuple[SchemaNotice, ...]]:
    """A wider schema without what xgrammar does not enforce.

    Args:
        schema: an engine schema.
        original: the caller's schema, for the pointers of the notices.

    Returns:
        The schema, and a notice for each keyword that was removed.

    """
    removed: list[tuple[str, str]] = []
    form = _without_unsupported(schema, "", removed)
    pending = list(_children(form, ""))
    while pending:
        parent, key, pointer = pending.pop()
        part = parent[key]
        if isinstance(part, dict):
            parent[key] = _without_unsupported(part, pointer, removed)
            pending.extend(_children(parent[key], pointer))
    locations = dict.fromkeys(
        (keyword, _original_pointer(original, pointer, keyword)) for keyword, pointer in removed
    )
    return form, tuple(
        SchemaNotice(keyword, location, Enforcement.CHECKED_AFTER_DECODING)
        for keyword, location in list(locations)[:_MAX_NOTICES]
    )


def _original_pointer(original: object, pointer: str, keyword: str) -> str:
    """Where the caller's schema has the keyword; the root if that is unknown."""
    try:
        found = lookup(original, pointer)
    except KeyError:
        return ""
    return pointer if isinstance(found, dict) and keyword in found else ""


def _without_unsupported(schema: Schema, pointer: str, removed: list[tuple[str, str]]) -> Schema:
    kept = dict(schema)

    def remove(*keywords: str) -> None:
        removed.extend((keyword, pointer) for keyword in keywords if keyword in kept)
        for keyword in keywords:
            kept.pop(keyword, None)

    remove("multipleOf", *_ITEM_KEYWORDS, "propertyNames")
    if kept.get("format") not in (None, *_FORMATS):
        remove("format")
    if "pattern" in kept and any(length in kept for length in _LENGTHS):
        bounded = _bounded_pattern(kept)
        if bounded is None:
            remove(*_LENGTHS)
        else:
            kept["pattern"] = bounded
            for length in _LENGTHS:
                kept.pop(length, None)
    if "format" in kept:
        remove(*_LENGTHS)
    patterns = kept.get("patternProperties")
    if isinstance(patterns, dict) and ("properties" in kept or len(patterns) > 1):
        remove("patternProperties", "additionalProperties")
    branches = kept.get("allOf")
    if isinstance(branches, list) and len(branches) > 1:
        kept["allOf"] = branches[:1]
        removed.append(("allOf", pointer))
    return kept


def _bounded_pattern(schema: Schema) -> str | None:
    """One pattern that says the same as pattern and lengths; None where that is not simple."""
    found = _REPEATED.fullmatch(str(schema["pattern"]))
    if found is None:
        return None
    head = len(re.findall(_CHARACTER, found["head"]))
    min_length, max_length = schema.get("minLength", 0), schema.get("maxLength")
    if not isinstance(min_length, int) or not isinstance(max_length, int | None):
        return None
    low = max(min_length - head, 1 if found["sign"] == "+" else 0)
    if max_length is not None and max_length - head < low:
        return None
    bounds = f"{{{low},{'' if max_length is None else max_length - head}}}"
    return f"^{found['head']}{found['kind']}{bounds}$"


def _children(schema: Schema, pointer: str) -> Iterator[Slot]:
    """The slots of a schema's parts. Their dicts and lists are copies that may be changed."""
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
