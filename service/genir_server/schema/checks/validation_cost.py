"""Finds schemas under which checking one value may take exponential time.

A validator checks each part of a value once for every schema that applies to it. If two schemas
apply to a part and each of them applies two schemas to one of its parts, the work doubles with
every level of the value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.checks.patterns import max_repetition
from genir_server.schema.read.cycles import cycles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genir_server.schema.read.document import Document, Node

_ANY_PROPERTY = "properties"
_ANY_ITEM = "items"
_MAX_WORK = 200_000
_MAX_EVALUATIONS = 2_000
_MAX_PATTERN_STATES = 5_000


def may_explode(document: Document) -> bool:
    """Whether checking one value may take more than a moderate number of evaluations.

    May be true where it would not, never false where it would.
    """
    return not _is_small_when_expanded(document) and _Growth(document).may_explode()


def _is_small_when_expanded(document: Document) -> bool:
    """Whether the schema has no cycle and is small with all references expanded.

    Then no place can need more evaluations than the expanded schema has subschemas. This is true
    of most schemas and needs one walk.
    """
    sizes: dict[str, int] = {}
    entered: set[str] = set()
    pending = [""]
    while pending:
        pointer = pending[-1]
        if pointer in sizes:
            pending.pop()
            continue
        edges = document.nodes[pointer].edges
        if pointer in entered:
            pending.pop()
            size = sizes[pointer] = 1 + sum(sizes[edge.target] for edge in edges)
            if size > _MAX_EVALUATIONS:
                return False
            continue
        entered.add(pointer)
        for edge in edges:
            if edge.target in sizes:
                continue
            if edge.target in entered:
                return False
            pending.append(edge.target)
    return True


def has_costly_patterns(document: Document) -> bool:
    """Whether the regular expressions are so large that matching them may take long.

    The time to match is proportional to the text and to the size of the expressions with their
    repetitions expanded.
    """
    states = sum(
        len(pattern) * max_repetition(pattern)
        for node in document.nodes.values()
        for pattern in _patterns(node.keywords)
    )
    return states > _MAX_PATTERN_STATES


def _patterns(keywords: dict[str, object]) -> Iterator[str]:
    pattern = keywords.get("pattern")
    if isinstance(pattern, str):
        yield pattern
    named = keywords.get("patternProperties")
    if isinstance(named, dict):
        yield from named


class _Growth:
    """Estimates how many evaluations one place in a value may need.

    A place is a property or an item; the schemas that apply to it are named by their pointers.
    """

    def __init__(self, document: Document) -> None:
        self._nodes = document.nodes
        self._cycle = cycles(document)
        self._work = 0

    def may_explode(self) -> bool:
        """Whether any place may need too many evaluations."""
        # By schema: the schemas that apply to each place in its values, and its own evaluations.
        places_in: dict[str, list[list[str]]] = {}
        evaluations: dict[str, int] = {}
        pending = [""]
        while pending:
            pointer = pending.pop()
            if pointer in places_in:
                continue
            applied = self._applied_in_place(pointer)
            if applied is None:
                return True
            evaluations[pointer] = len(applied)
            places = self._places(applied)
            places_in[pointer] = places
            for targets in places:
                own = self._cycle[pointer]
                if sum(self._is_in_cycle(target, own) for target in targets) > 1:
                    return True
                pending.extend(targets)
        return self._max_evaluations(places_in, evaluations) > _MAX_EVALUATIONS

    def _is_in_cycle(self, pointer: str, cycle: str) -> bool:
        """Whether a schema, or one that it applies to the same value, is part of the cycle."""
        applied = self._applied_in_place(pointer)
        return applied is None or any(self._cycle[schema] == cycle for schema in applied)

    def _applied_in_place(self, pointer: str) -> list[str] | None:
        """This schema and all that it applies to the same value, repeated; None if too many."""
        applied: list[str] = []
        pending = [pointer]
        while pending:
            schema = pending.pop()
            applied.append(schema)
            pending.extend(edge.target for edge in self._nodes[schema].edges if edge.in_place)
            self._work += 1
            if self._work > _MAX_WORK:
                return None
        return applied

    def _places(self, applied: list[str]) -> list[list[str]]:
        """For each place in a value, the schemas that apply to it."""
        named: dict[str, list[str]] = {}
        general: dict[str, list[tuple[Node, str]]] = {_ANY_PROPERTY: [], _ANY_ITEM: []}
        for pointer in applied:
            node = self._nodes[pointer]
            for edge in node.edges:
                if edge.in_place or edge.keyword == "propertyNames":
                    continue
                listed = edge.keyword == "prefixItems" or isinstance(edge.key, int)
                if edge.keyword == "properties" or listed:
                    named.setdefault(f"{edge.keyword == 'properties'}{edge.key}", []).append(
                        edge.target
                    )
                elif edge.keyword.endswith("roperties"):
                    general[_ANY_PROPERTY].append((node, edge.target))
                else:
                    general[_ANY_ITEM].append((node, edge.target))
        places = [[target for _, target in general[kind]] for kind in general]
        for name, targets in named.items():
            kind = _ANY_PROPERTY if name.startswith("True") else _ANY_ITEM
            key = name.removeprefix("True")
            places.append(
                targets
                + [
                    target
                    for node, target in general[kind]
                    if kind == _ANY_ITEM or not _names(node, key)
                ]
            )
        return [targets for targets in places if targets]

    @staticmethod
    def _max_evaluations(places_in: dict[str, list[list[str]]], evaluations: dict[str, int]) -> int:
        """The most evaluations along one path into a value; cycles count once."""
        totals: dict[str, int] = {}
        entered: set[str] = set()
        pending = [""]
        while pending:
            pointer = pending[-1]
            if pointer in totals:
                pending.pop()
            elif pointer in entered:
                pending.pop()
                totals[pointer] = evaluations[pointer] + max(
                    (
                        sum(totals.get(target, 1) for target in targets)
                        for targets in places_in[pointer]
                    ),
                    default=0,
                )
            else:
                entered.add(pointer)
                pending.extend(
                    target
                    for targets in places_in[pointer]
                    for target in targets
                    if target not in entered
                )
        return totals[""]


def _names(node: Node, key: str) -> bool:
    properties = node.keywords.get("properties")
    return isinstance(properties, dict) and key in properties
