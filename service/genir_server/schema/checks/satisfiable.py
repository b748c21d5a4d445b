"""Finds schemas that no finite value satisfies.

Such a schema requires what other keywords exclude, or a value of its own kind inside every value,
without end. The engine would write such values until it runs out of tokens.

Only what is certain counts: keywords that are not read here are taken for satisfied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.checks.contradiction import Contradiction, Faults, keywords_of
from genir_server.schema.checks.exclusion import excluded_types
from genir_server.schema.read.pointer import child
from genir_server.schema.read.value_types import ALL_TYPES, TYPES, type_of
from genir_server.schema.read.vocabulary import Draft, known

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genir_server.schema.read.document import Document, Node

_MAX_PASSES = 20
_MAX_PARTS = 50
_MAX_COMBINED = 500
_NOTHING: frozenset[str] = frozenset()
_PART_IS_EMPTY = "a part allows nothing"


class Satisfiability:
    """What is certain about the schemas of a document.

    Attributes:
        unsatisfiable: pointers of the schemas that no finite value satisfies.

    Args:
        document: the schemas.

    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._draft = document.draft
        self._parts: dict[str, list[Node]] = {}
        self._own: dict[str, frozenset[str]] = {}
        self._combined = 0
        # By schema, the types of the finite values that may satisfy it, as far as they are found.
        self._types: dict[str, frozenset[str]] = dict.fromkeys(document.nodes, _NOTHING)
        self._faults = Faults(document, self._types)
        self.unsatisfiable: frozenset[str] = frozenset()
        self._find()

    def _find(self) -> None:
        # From the inside out: what a value requires inside comes before the value itself, except
        # in a cycle, which takes another pass.
        order = list(reversed(self._document.nodes))
        for _ in range(_MAX_PASSES):
            changed = False
            for pointer in order:
                found = self._possible_types(pointer)
                if found != self._types[pointer]:
                    self._types[pointer] = found
                    changed = True
            if not changed:
                self.unsatisfiable = frozenset(
                    pointer for pointer, types in self._types.items() if not types
                )
                return

    def contradiction(self) -> Contradiction | None:
        """Why no finite value satisfies the whole schema; None if one may."""
        pointer, where, seen = "", "", set[str]()
        if pointer not in self.unsatisfiable:
            return None
        while True:
            seen.add(pointer)
            found = self._contradiction_at(pointer)
            if found.rests_on is None:
                return found
            if found.message != _PART_IS_EMPTY:
                where = found.pointer
            if found.rests_on in seen:
                message = "every value requires another one of its own kind inside, without end"
                return Contradiction(message, where)
            pointer = found.rests_on

    def _possible_types(self, pointer: str) -> frozenset[str]:
        node = self._document.nodes[pointer]
        if isinstance(node.value, bool):
            return ALL_TYPES if node.value else _NOTHING
        parts = self._applied(node)
        types = self._allowed(parts)
        for options in self._choices(parts):
            types &= frozenset().union(*(self._types_of_option(o, parts) for o in options))
        return frozenset(name for name in types if self._faults.of(name, parts) is None)

    def _types_of_option(self, option: str, parts: list[Node]) -> frozenset[str]:
        types = self._types[option]
        if "object" not in types or self._combined > _MAX_COMBINED * len(self._types):
            return types
        inner = self._applied(self._document.nodes[option])
        self._combined += len(inner) + len(parts)
        # Together they may exclude what each of them allows: an object closed around its options.
        fault = self._faults.of("object", [*parts, *inner])
        return types if fault is None else types - {"object"}

    def _applied(self, node: Node) -> list[Node]:
        """The schema and those that `allOf` and `$ref` apply with it."""
        found = self._parts.get(node.pointer)
        if found is None:
            found, pending = [], [node.pointer]
            while pending and len(found) < _MAX_PARTS:
                inner = self._document.nodes[pending.pop()]
                if all(inner is not one for one in found):
                    found.append(inner)
                    pending += [
                        edge.target
                        for edge in reversed(inner.edges)
                        if edge.keyword in ("allOf", "$ref")
                    ]
            self._parts[node.pointer] = found
        return found

    def _allowed(self, parts: list[Node]) -> frozenset[str]:
        types = ALL_TYPES
        for part in parts:
            own = self._own.get(part.pointer)
            if own is None:
                own = self._own[part.pointer] = self._own_types(part)
            types &= own
        return types

    def _own_types(self, node: Node) -> frozenset[str]:
        """The types that the schema's own `type`, `const`, `enum` and `not` leave."""
        if isinstance(node.value, bool):
            return ALL_TYPES if node.value else _NOTHING
        keywords = keywords_of(self._draft, node)
        types = ALL_TYPES
        declared = keywords.get("type")
        if declared is not None:
            names = [declared] if isinstance(declared, str) else declared
            if isinstance(names, list):
                types = frozenset().union(*(TYPES.get(str(name), ALL_TYPES) for name in names))
        for keyword in ("const", "enum"):
            if keyword in keywords and known(keyword, self._draft):
                value = keywords[keyword]
                values = [value] if keyword == "const" else value
                if isinstance(values, list):
                    types &= frozenset().union(*map(self._types_of_value, values))
        return types - excluded_types(self._document, node)

    def _types_of_value(self, value: object) -> frozenset[str]:
        name = type_of(value)
        if self._draft is Draft.DRAFT4 and isinstance(value, float) and name == "integer":
            return frozenset({"integer", "fraction"})
        return frozenset({name})

    def _choices(self, parts: list[Node]) -> Iterator[list[str]]:
        for part in parts:
            for keyword in ("anyOf", "oneOf"):
                if keyword in part.keywords:
                    options = [edge.target for edge in part.edges if edge.keyword == keyword]
                    if options:
                        yield options

    def _contradiction_at(self, pointer: str) -> Contradiction:
        node = self._document.nodes[pointer]
        if isinstance(node.value, bool):
            return Contradiction("it is false", pointer)
        parts = self._applied(node)
        for part in parts:
            if part is not node and not self._types[part.pointer]:
                return Contradiction(_PART_IS_EMPTY, part.pointer, part.pointer)
        types = self._allowed(parts)
        if not types:
            return self._type_contradiction(parts)
        for options in self._choices(parts):
            if not types & frozenset().union(*(self._types_of_option(o, parts) for o in options)):
                empty = [option for option in options if not self._types[option]]
                rests_on = empty[0] if len(empty) == len(options) else None
                where = options[0].rpartition("/")[0]
                return Contradiction("other keywords exclude every alternative", where, rests_on)
        for name in sorted(types):
            fault = self._faults.of(name, parts)
            if fault is not None:
                return fault
        return Contradiction("its parts exclude one another", pointer)

    def _type_contradiction(self, parts: list[Node]) -> Contradiction:
        types = ALL_TYPES
        for part in parts:
            left = types & self._own[part.pointer]
            if not left:
                keywords = keywords_of(self._draft, part)
                for keyword in ("not", "enum", "const", "type"):
                    if keyword in keywords:
                        message = f"{keyword} leaves no type that the other keywords allow"
                        return Contradiction(message, child(part.pointer, keyword))
            types = left
        return Contradiction("its parts allow no common type", parts[0].pointer)
