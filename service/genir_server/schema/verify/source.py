"""The caller's schema in the form that the validator takes.

Regular expressions are translated, references are written as URIs, and `$schema` is the usual one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, unquote

from genir_server.schema.checks.evaluation_cost import patterns_in
from genir_server.schema.errors import refused_pattern
from genir_server.schema.pattern.syntax import PatternSyntaxError, PatternUnsupportedError
from genir_server.schema.pattern.translate import translate
from genir_server.schema.read.drafts import NAMES
from genir_server.schema.read.pointer import child, lookup, split
from genir_server.schema.read.references import as_uri
from genir_server.schema.read.vocabulary import REFERENCES
from genir_server.schema.types import VerifierSource

if TYPE_CHECKING:
    from genir_server.schema.read.document import Document

_SAFE_IN_FRAGMENT = "/~!$&'()*+,;=:@?"


def verifier_source(document: Document, text: str) -> VerifierSource:
    """What the verifier of a schema is compiled from.

    Also translates what the root does not reach, because the validator checks that too.

    Args:
        document: the schema.
        text: its text.

    Raises:
        SchemaRefusedError: SCHEMA_INVALID or SCHEMA_UNSUPPORTED; a regular expression is not
            ECMA-262 or cannot be translated.

    """
    written = _translations(document)
    if not (written or _needs_uris(document) or _has_other_name(document)):
        return VerifierSource(text, document.draft)
    root = json.loads(text)
    if _has_other_name(document):
        root["$schema"] = NAMES[document.draft]
    # The places are looked up before any key changes.
    places = [
        (pointer, cast("dict[str, object]", lookup(root, pointer)))
        for pointer, schema in document.schemas.items()
        if isinstance(schema, dict)
    ]
    renamed: dict[str, str] = {}
    for pointer, schema in places:
        pattern = schema.get("pattern")
        if isinstance(pattern, str):
            schema["pattern"] = written.get(pattern, pattern)
        named = schema.get("patternProperties")
        if isinstance(named, dict):
            entries = list(named.items())
            # Changed in place: a reference may make this very object a schema, too.
            named.clear()
            named.update((written.get(key, key), part) for key, part in entries)
            for key, _ in entries:
                if key in written:
                    renamed[child(pointer, "patternProperties", key)] = written[key]
    if renamed:
        _redirect(document, dict(places), renamed)
    for _, schema in places:
        _write_uris(schema)
    patterns = tuple((form, own) for own, form in written.items())
    return VerifierSource(
        json.dumps(root, ensure_ascii=False, separators=(",", ":")), document.draft, patterns
    )


def _has_other_name(document: Document) -> bool:
    """Whether `$schema` names the draft in a way that the validator does not know."""
    name = document.root.get("$schema") if isinstance(document.root, dict) else None
    return isinstance(name, str) and name.rstrip("#") != NAMES[document.draft]


def _needs_uris(document: Document) -> bool:
    return any(
        as_uri(reference) != reference
        for schema in document.schemas.values()
        for reference in _references(schema)
    )


def _references(schema: object) -> list[str]:
    if not isinstance(schema, dict):
        return []
    values = (schema.get(keyword) for keyword in REFERENCES)
    return [value for value in values if isinstance(value, str)]


def _write_uris(schema: dict[str, object]) -> None:
    for keyword in REFERENCES:
        reference = schema.get(keyword)
        if isinstance(reference, str):
            schema[keyword] = as_uri(reference)


def _translations(document: Document) -> dict[str, str]:
    """The translation of each regular expression that needs one.

    No two have the same, nor one that is the caller's elsewhere or a keyword, so that violations
    can be told in the caller's words.
    """
    written: dict[str, str] = {}
    unchanged: set[str] = set()
    for pointer, schema in document.schemas.items():
        for pattern in patterns_in(schema) if isinstance(schema, dict) else ():
            if pattern in written or pattern in unchanged:
                continue
            try:
                form = translate(pattern).text
            except (PatternSyntaxError, PatternUnsupportedError) as fault:
                raise refused_pattern(fault, _place(pointer, schema, pattern)) from None
            if form == pattern:
                unchanged.add(pattern)
            else:
                written[pattern] = f"(?:{form})"
    taken = unchanged | written.keys()
    distinct: dict[str, str] = {}
    for pattern, form in written.items():
        distinct[pattern] = _other_than(taken, form)
        taken.add(distinct[pattern])
    return distinct


def _other_than(taken: set[str], form: str) -> str:
    while form in taken:
        form = f"(?:{form})"
    return form


def _place(pointer: str, schema: object, pattern: str) -> str:
    if isinstance(schema, dict) and schema.get("pattern") == pattern:
        return child(pointer, "pattern")
    return child(pointer, "patternProperties", pattern)


def _redirect(
    document: Document, places: dict[str, dict[str, object]], renamed: dict[str, str]
) -> None:
    """Changes references whose pointers go through a key that was renamed."""
    for node in document.nodes.values():
        for edge in node.edges:
            target = _moved(edge.target, renamed)
            if edge.keyword not in REFERENCES or target == edge.target:
                continue
            uri, _, fragment = str(node.keywords[edge.keyword]).partition("#")
            inside = unquote(fragment)
            if inside.startswith("/") and edge.target.endswith(inside):
                start = _moved(edge.target.removesuffix(inside), renamed)
                moved = quote(target.removeprefix(start), safe=_SAFE_IN_FRAGMENT)
                places[node.pointer][edge.keyword] = f"{uri}#{moved}"


def _moved(pointer: str, renamed: dict[str, str]) -> str:
    """A pointer with the new names of keys."""
    before = after = ""
    for token in split(pointer):
        before = child(before, token)
        after = child(after, renamed.get(before, token))
    return after
