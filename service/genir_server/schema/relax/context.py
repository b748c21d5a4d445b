"""What all converters of one schema share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from genir_server.domain.types import Enforcement, SchemaNotice
from genir_server.schema.read.pointer import child
from genir_server.schema.relax.part import Part

if TYPE_CHECKING:
    from genir_server.schema.errors import SchemaRefusedError
    from genir_server.schema.read.document import Document, Node
    from genir_server.schema.relax.text_facts import Texts

EngineSchema = dict[str, object] | bool
"""A schema in the keywords that the engine enforces."""


class Oracle(Protocol):
    """Questions that only the libraries can answer. Lives in the worker process."""

    def compiles(self, schema: EngineSchema) -> bool:
        """Whether the grammar compiler accepts a small schema by itself."""
        ...

    def matches(self, pattern: str, text: str) -> bool:
        """Whether a regular expression matches inside a text, as JSON Schema defines it."""
        ...

    def writes(self, number: float) -> bool:
        """Whether the engine writes a constant as it is."""
        ...

    def writes_texts(self, facts: Texts) -> bool:
        """Whether the engine writes the texts that several keywords allow together."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """Which coarser relaxations are used, after the grammar compiler refused the finer ones.

    Attributes:
        open_circular: a `$ref` beside other keywords in a cycle is replaced by its target.
        cut_circular: a `$ref` beside other keywords in a cycle is dropped.
        plain_counts: `minProperties`, `maxProperties`, alternatives that only require properties,
            and many alternatives beside many properties are dropped.
        plain_patterns: `patternProperties` and `pattern` are dropped.
        plain_conditions: `if`, `not`, dependencies and exclusions are dropped.
        plain_recursion: a schema that leads into a cycle is dropped where other keywords apply too.
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
    """The state of one relaxation.

    Attributes:
        document: the caller's schema.
        oracle: answers of the libraries.
        options: which coarser relaxations are used.
        names: name in `$defs` by pointer, for every target of a reference.
        converted: engine schema by pointer.
        notices: the notices so far, by pointer and keyword.
        mixed: pointers of schemas with a reference into their own cycle beside other keywords.
        recursive: pointers of schemas that lead into a cycle; empty unless `plain_recursion`.
        opened: parts that are filled with the schema at a pointer, once that is converted.
        refusals: why parts are left out that no answer can satisfy.
        empty: pointers of schemas that no finite value satisfies.
        compared: how many unknown keywords were compared with the known ones.
        obstacle: the place for which the schema has no newer draft; None until it is needed.

    """

    document: Document
    oracle: Oracle
    options: Options
    names: dict[str, str] = field(default_factory=dict)
    converted: dict[str, EngineSchema] = field(default_factory=dict)
    notices: dict[tuple[str, str], SchemaNotice] = field(default_factory=dict)
    mixed: set[str] = field(default_factory=set)
    recursive: set[str] = field(default_factory=set)
    opened: list[tuple[Part, str]] = field(default_factory=list)
    refusals: list[SchemaRefusedError] = field(default_factory=list)
    empty: frozenset[str] = frozenset()
    compared: int = 0
    obstacle: str | None = None

    def note(self, node: Node, keyword: str, enforcement: Enforcement, detail: str = "") -> None:
        """Reports a keyword of `node`."""
        pointer = child(node.pointer, keyword)
        self.notices[pointer, keyword] = SchemaNotice(keyword, pointer, enforcement, detail)

    def unchecked(self, node: Node, keyword: str, detail: str) -> None:
        """Reports a keyword that is left to the verifier."""
        self.note(node, keyword, Enforcement.CHECKED_AFTER_DECODING, detail)

    def rewritten(self, node: Node, keyword: str, detail: str = "") -> None:
        """Reports a keyword that other keywords enforce exactly."""
        self.note(node, keyword, Enforcement.REWRITTEN, detail)

    def use(self, pointer: str) -> EngineSchema:
        """The engine schema for `pointer`, for use inside another schema."""
        name = self.names.get(pointer)
        if pointer in self.empty or name in self.options.unsatisfiable:
            return False
        if name is not None:
            return {"$ref": f"#/$defs/{name}"} if pointer else {"$ref": "#"}
        return self.converted[pointer]

    def use_beside(self, pointer: str) -> EngineSchema:
        """Like `use`, for a place where other keywords apply too."""
        if not self.options.open_circular or pointer not in self.names:
            return self.use(pointer)
        part = Part()
        self.opened.append((part, pointer))
        return part

    def resolve(self, schema: EngineSchema) -> EngineSchema:
        """The target of a schema that is only a reference; any other schema unchanged."""
        for _ in range(16):
            if isinstance(schema, bool) or len(schema) != 1 or "$ref" not in schema:
                return schema
            pointer = self._pointers().get(str(schema["$ref"]))
            if pointer is None or pointer not in self.converted:
                return True
            schema = self.converted[pointer]
        return True

    def pointer_of(self, reference: dict[str, object]) -> str | None:
        """The pointer, in the caller's schema, of the target of an engine schema's `$ref`."""
        return self._pointers().get(str(reference.get("$ref")))

    def _pointers(self) -> dict[str, str]:
        if not self._by_name:
            self._by_name = {
                (f"#/$defs/{name}" if pointer else "#"): pointer
                for pointer, name in self.names.items()
            }
        return self._by_name

    _by_name: dict[str, str] = field(default_factory=dict)
