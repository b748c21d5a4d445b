"""What all rewriters of one schema share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from genir_server.core.types import Enforcement, SchemaNotice
from genir_server.schema.pointer import child

if TYPE_CHECKING:
    from genir_server.schema.document import Document, Node

EngineSchema = dict[str, object] | bool
"""A schema in the keywords that the engine enforces."""


class Oracle(Protocol):
    """Answers what only the libraries know. Lives in the worker process."""

    def compiles(self, schema: EngineSchema) -> bool:
        """Whether the engine's grammar compiler takes a small schema by itself."""
        ...

    def matches(self, pattern: str, text: str) -> bool:
        """Whether a regular expression is found in a text, in the sense of JSON Schema."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """Which coarser relaxations are taken, after the engine refused the finer ones.

    Attributes:
        cut_circular: keywords beside a `$ref` that takes part in a cycle are dropped.
        plain_counts: `minProperties` and `maxProperties` are dropped.
        plain_patterns: `patternProperties` and `pattern` are dropped.
        plain_conditions: `if`, `not`, dependencies and exclusions are dropped.

    """

    cut_circular: bool = False
    plain_counts: bool = False
    plain_patterns: bool = False
    plain_conditions: bool = False


@dataclass(slots=True)
class Context:
    """One relaxation under way.

    Attributes:
        document: the caller's schema.
        oracle: what the libraries say.
        options: which coarser relaxations are taken.
        names: name in `$defs` by pointer, for every schema that a reference names.
        converted: engine schema by pointer.
        notices: what has been reported so far, by pointer and keyword.

    """

    document: Document
    oracle: Oracle
    options: Options
    names: dict[str, str] = field(default_factory=dict)
    converted: dict[str, EngineSchema] = field(default_factory=dict)
    notices: dict[tuple[str, str], SchemaNotice] = field(default_factory=dict)

    def note(self, node: Node, keyword: str, enforcement: Enforcement, detail: str = "") -> None:
        """Reports a keyword of `node`."""
        pointer = child(node.pointer, keyword)
        self.notices[pointer, keyword] = SchemaNotice(keyword, pointer, enforcement, detail)

    def unchecked(self, node: Node, keyword: str, detail: str) -> None:
        """Reports a keyword that is left to the verifier."""
        self.note(node, keyword, Enforcement.CHECKED_AFTER_DECODING, detail)

    def rewritten(self, node: Node, keyword: str, detail: str = "") -> None:
        """Reports a keyword that is enforced exactly in other words."""
        self.note(node, keyword, Enforcement.REWRITTEN, detail)

    def use(self, pointer: str) -> EngineSchema:
        """The engine schema that stands for `pointer` where another schema holds it."""
        name = self.names.get(pointer)
        if name is not None:
            return {"$ref": f"#/$defs/{name}"} if pointer else {"$ref": "#"}
        return self.converted[pointer]

    def resolve(self, schema: EngineSchema) -> EngineSchema:
        """What a schema that is nothing but a reference stands for."""
        for _ in range(16):
            if isinstance(schema, bool) or len(schema) != 1 or "$ref" not in schema:
                return schema
            pointer = self._pointers().get(str(schema["$ref"]))
            if pointer is None or pointer not in self.converted:
                return True
            schema = self.converted[pointer]
        return True

    def _pointers(self) -> dict[str, str]:
        if not self._by_name:
            self._by_name = {
                (f"#/$defs/{name}" if pointer else "#"): pointer
                for pointer, name in self.names.items()
            }
        return self._by_name

    _by_name: dict[str, str] = field(default_factory=dict)
