"""Explains why the grammar compiler refuses a schema, and where, in the caller's own terms.

Most schemas that no value satisfies are refused before, by `checks.satisfiable`; patterns that
exclude each other are found by the compiler only. llguidance's messages name no place, and speak of
the relaxed schema, which the caller has not seen. So an unsatisfiable schema is followed from the
root through the parts that every value needs: the innermost one that is unsatisfiable by itself is
the place.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import llguidance

from genir_server.schema.errors import SchemaRefusedError, invalid, unsupported
from genir_server.schema.grammar.guidance import grammar_of
from genir_server.schema.read.pointer import child
from genir_server.schema.relax.part import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genir_server.schema.read.document import Document
    from genir_server.schema.relax import Relaxed

_Schema = dict[str, object] | bool

_MAX_SECONDS = 0.1
_REASONS = (
    (r"length constraints", "its constant has another length than it allows"),
    (r"Regex is empty", "no text fits all its patterns, formats and lengths"),
    (r"minimum|maximum|range", "it leaves no number"),
)
_OBSTACLES = (
    (r"stack level|circular", "references beside other keywords form a cycle"),
    (
        r"Unable to determine if a? ?(?:pattern|regex)",
        "a regular expression is too hard to analyse",
    ),
    (r"disjoint", "patterns of property names cannot be told apart"),
    (r"min/maxProperties", "it counts properties whose names are open"),
    (r"(?i)regex|pattern", "a regular expression is more than it can match"),
    (r"(?i)too (?:large|many|complex|big)|limit", "its grammar becomes too large"),
)
_DEFINITION = re.compile(r"while processing json-schema:///#/\$defs/([\w-]+)")


def is_unsatisfiable(error: str) -> bool:
    """Whether a message of the compiler says that no value satisfies the schema."""
    return "nsatisfiable" in error


def unsatisfiable(document: Document, relaxed: Relaxed, error: str) -> SchemaRefusedError:
    """The refusal of a schema that no value satisfies.

    Args:
        document: the caller's schema.
        relaxed: the form that was compiled.
        error: the compiler's message.

    """
    pointer, error = _Search(document, relaxed).innermost(error)
    return invalid(f"No value can satisfy the schema: {_words(error, _REASONS)}", pointer)


def not_enforced(relaxed: Relaxed, error: str) -> SchemaRefusedError:
    """The refusal of a schema that the compiler does not take, for another reason.

    Args:
        relaxed: the form that was compiled.
        error: the compiler's message.

    """
    found = _DEFINITION.search(error)
    part = _definitions(relaxed).get(found.group(1)) if found else None
    pointer = part.origin if isinstance(part, Part) else None
    return unsupported(
        f"The engine cannot enforce the schema: {_words(error, _OBSTACLES)}", pointer or ""
    )


def _words(error: str, table: tuple[tuple[str, str], ...]) -> str:
    for form, words in table:
        if found := re.search(form, error):
            return found.expand(words)
    if table is _REASONS:
        return "its keywords together exclude every value"
    return "its grammar compiler does not take this combination of keywords"


class _Search:
    """Looks for the place of a contradiction, for a limited time."""

    def __init__(self, document: Document, relaxed: Relaxed) -> None:
        self._document = document
        self._root = relaxed.schema
        self._definitions = _definitions(relaxed)
        self._deadline = time.thread_time() + _MAX_SECONDS

    def innermost(self, error: str) -> tuple[str, str]:
        """The caller's pointer to the innermost unsatisfiable part, and the message about it."""
        pointer, part = "", self._root
        seen: set[int] = set()
        while isinstance(part, dict) and id(part) not in seen:
            seen.add(id(part))
            for inner, path in self._needed(part):
                message = self._error(inner)
                if message:
                    pointer = self._pointer(pointer, inner, path)
                    part, error = inner, message
                    break
            else:
                break
        return pointer, error

    def _pointer(self, outer: str, part: _Schema, path: tuple[str | int, ...]) -> str:
        """The caller's pointer to a part; that of the part around it if it is not the caller's."""
        if isinstance(part, Part) and part.origin is not None:
            return part.origin
        inside = child(outer, *path)
        return inside if inside in self._document.nodes else outer

    def _needed(self, part: dict[str, object]) -> Iterator[tuple[_Schema, tuple[str | int, ...]]]:
        """The parts that apply to every value of a part, or to something in every value."""
        reference = part.get("$ref")
        if isinstance(reference, str):
            yield from _schemas([self._definitions.get(reference.split("/")[-1])], "$ref")
        yield from _schemas(part.get("allOf"), "allOf")
        properties, required = part.get("properties"), part.get("required")
        if isinstance(properties, dict) and isinstance(required, list):
            for name in required:
                for inner, _ in _schemas([properties.get(name)], "properties"):
                    yield inner, ("properties", name)
        items, prefix = part.get("minItems"), part.get("prefixItems")
        if isinstance(items, int) and items:
            first = prefix if isinstance(prefix, list) else []
            yield from _schemas(first[:items], "prefixItems")
            if len(first) < items:
                for inner, _ in _schemas([part.get("items")], "items"):
                    yield inner, ("items",)

    def _error(self, part: _Schema) -> str:
        """The compiler's message about an unsatisfiable part; "" for another or if time is up."""
        if isinstance(part, bool):
            return "" if part else "schema is false"
        text = json.dumps({**part, "$defs": self._definitions})
        if '{"$ref": "#"}' in text or time.thread_time() > self._deadline:
            # By itself a part would be what "#" refers to.
            return ""
        try:
            error = llguidance.LLMatcher.validate_grammar(grammar_of(text))
        except ValueError:
            return ""
        return error if is_unsatisfiable(error) else ""


def _definitions(relaxed: Relaxed) -> dict[str, _Schema]:
    found = relaxed.schema.get("$defs") if isinstance(relaxed.schema, dict) else None
    return found if isinstance(found, dict) else {}


def _schemas(value: object, keyword: str) -> Iterator[tuple[_Schema, tuple[str | int, ...]]]:
    for index, each in enumerate(value if isinstance(value, list) else ()):
        if isinstance(each, dict | bool):
            yield each, (keyword, index)
