"""What all rewriters of one schema share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from genir_server.domain.types import Enforcement, SchemaNotice
from genir_server.schema.read.pointer import child

if TYPE_CHECKING:
    from genir_server.schema.read.document import Document, Node

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
        open_circular: a `$ref` beside other keywords that takes part in a cycle is written out.
        cut_circular: a `$ref` beside other keywords that takes part in a cycle is dropped.
        plain_counts: `minProperties` and `maxProperties` are dropped.
        plain_patterns: `patternProperties` and `pattern` are dropped.
        plain_conditions: `if`, `not`, dependencies and exclusions are dropped.
        plain_recursion: what leads into a cycle is dropped where other keywords apply as well.
        unsatisfiable: names of definitions that no value satisfies, as the compiler found out.

    """

    open_circular: bool = False
    cut_circular: bool = False
    plain_counts: bool = False
    plain_patterns: bool = False
    plain_conditions: bool = False
    plain_recursion: bool = False
    unsatisfiable: frozenset[str] = frozenset()


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
        mixed: pointers of schemas that hold a reference of their own cycle beside other keywords.
        recursive: pointers of schemas that lead into a cycle; empty unless `plain_recursion`.
        opened: parts to be replaced by what is at a pointer, once that is converted.
        capped: maximum numbers of items too large for the engine, by the `id` of the schema.
        divisors: `multipleOf` that the engine enforces for numbers from 0 up only, likewise.
        formats: names of formats that a wide pattern stands for, likewise.

    """

    document: Document
    oracle: Oracle
    options: Options
    names: dict[str, str] = field(default_factory=dict)
    converted: dict[str, EngineSchema] = field(default_factory=dict)
    notices: dict[tuple[str, str], SchemaNotice] = field(default_factory=dict)
    mixed: set[str] = field(default_factory=set)
    recursive: set[str] = field(default_factory=set)
    opened: list[tuple[dict[str, object], str]] = field(default_factory=list)
    capped: dict[int, int] = field(default_factory=dict)
    divisors: dict[int, object] = field(default_factory=dict)
    formats: dict[int, str] = field(default_factory=dict)

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
        if name in self.options.unsatisfiable:
            return False
        if name is not None:
            return {"$ref": f"#/$defs/{name}"} if pointer else {"$ref": "#"}
        return self.converted[pointer]

    def use_beside(self, pointer: str) -> EngineSchema:
        """Like `use`, for a place where other keywords apply as well."""
        if not self.options.open_circular or pointer not in self.names:
            return self.use(pointer)
        part: dict[str, object] = {}
        self.opened.append((part, pointer))
        return part

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

    def pointer_of(self, reference: dict[str, object]) -> str | None:
        """The caller's pointer of what an engine schema's `$ref` names."""
        return self._pointers().get(str(reference.get("$ref")))

    def _pointers(self) -> dict[str, str]:
        if not self._by_name:
            self._by_name = {
                (f"#/$defs/{name}" if pointer else "#"): pointer
                for pointer, name in self.names.items()
            }
        return self._by_name

    _by_name: dict[str, str] = field(default_factory=dict)
