"""Bounds the time that checking one value may take.

A validator checks each part of a value once for every schema that applies to it. So the time is at
most the number of parts times the largest cost of all schemas that apply to one part. If two
schemas apply to a part and each of them applies two schemas to one of its parts, the work doubles
with every level of the value, and there is no useful bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.checks.evaluation_cost import NOTHING, UNBOUNDED, Cost, evaluation_cost
from genir_server.schema.read.cycles import cycles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from genir_server.schema.read.document import Document, Edge, Node

_ANY_PROPERTY = "properties"
_ANY_ITEM = "items"
_MAX_WORK = 50_000
_UNEVALUATED = ("unevaluatedProperties", "unevaluatedItems")
# To learn what is evaluated, the validator checks the other keywords again, those of the
# alternatives that apply more than once.
_UNEVALUATED_FACTOR = 3


def validation_cost(document: Document) -> Cost:
    """Upper bounds of the time to check a value: for each of its nodes and for each byte.

    Unbounded where the work may grow exponentially, or where its growth is too complex to follow.
    """
    return _Growth(document).cost()


class _Growth:
    """Adds up what applies to one place in a value.

    A place is a property or an item; the schemas that apply to it are named by their pointers.
    """

    def __init__(self, document: Document) -> None:
        self._nodes = document.nodes
        self._cycle = cycles(document)
        self._applied: dict[str, list[str] | None] = {}
        self._work = 0

    def cost(self) -> Cost:
        """The largest cost along one path into a value."""
        # By schema: the schemas that apply to each place in its values, and its own cost.
        places_in: dict[str, list[list[str]]] = {}
        costs: dict[str, Cost] = {}
        own_costs = {
            pointer: evaluation_cost(node.keywords) for pointer, node in self._nodes.items()
        }
        pending = [""]
        while pending:
            pointer = pending.pop()
            if pointer in places_in:
                continue
            applied = self._applied_in_place(pointer)
            if applied is None:
                return UNBOUNDED
            costs[pointer] = sum((own_costs[schema] for schema in applied), NOTHING)
            places = self._places(applied)
            places_in[pointer] = places
            self._work += len(applied) + sum(map(len, places))
            if self._work > _MAX_WORK:
                return UNBOUNDED
            for targets in places:
                own = self._cycle[pointer]
                in_cycle = sum(self._is_in_cycle(target, own) for target in targets)
                # Items that must differ are compared with all that is in them, at every level.
                if in_cycle > 1 or (in_cycle and self._needs_unique_items(applied)):
                    return UNBOUNDED
                pending.extend(targets)
        return _largest_along_a_path(places_in, costs)

    def _needs_unique_items(self, applied: Iterable[str]) -> bool:
        return any(self._nodes[schema].keywords.get("uniqueItems") for schema in applied)

    def _is_in_cycle(self, pointer: str, cycle: str) -> bool:
        """Whether a schema, or one that it applies to the same value, is part of the cycle."""
        applied = self._applied_in_place(pointer)
        return applied is None or any(self._cycle[schema] == cycle for schema in applied)

    def _applied_in_place(self, pointer: str) -> list[str] | None:
        """This schema and all that it applies to the same value, repeated; None if too many."""
        if pointer not in self._applied:
            self._applied[pointer] = self._find_applied_in_place(pointer)
        return self._applied[pointer]

    def _find_applied_in_place(self, pointer: str) -> list[str] | None:
        applied: list[str] = []
        pending = [pointer]
        while pending:
            schema = pending.pop()
            applied.append(schema)
            pending.extend(edge.target for edge in _edges(self._nodes[schema]) if edge.in_place)
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
            for edge in _edges(node):
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
        names = [
            edge.target
            for pointer in applied
            for edge in _edges(self._nodes[pointer])
            if edge.keyword == "propertyNames"
        ]
        return [targets for targets in (*places, names) if targets]


def _largest_along_a_path(places_in: dict[str, list[list[str]]], costs: dict[str, Cost]) -> Cost:
    """The largest sum of costs along one path into a value. Cycles count once.

    It is an upper bound for what applies to any one part, and a part of an array with
    `uniqueItems` also has the cost of being compared with others.
    """
    totals: dict[str, Cost] = {}
    entered: set[str] = set()
    pending = [""]
    while pending:
        pointer = pending[-1]
        if pointer in totals:
            pending.pop()
        elif pointer in entered:
            pending.pop()
            largest = NOTHING
            for targets in places_in[pointer]:
                place = sum((totals.get(target, NOTHING) for target in targets), NOTHING)
                largest = largest.or_more(place)
            totals[pointer] = costs[pointer] + largest
        else:
            entered.add(pointer)
            pending.extend(
                target
                for targets in places_in[pointer]
                for target in targets
                if target not in entered
            )
    return totals[""]


def _edges(node: Node) -> Iterator[Edge]:
    """The edges of a node, each as often as the validator follows it."""
    repeats = _UNEVALUATED_FACTOR if any(name in node.keywords for name in _UNEVALUATED) else 1
    for _ in range(repeats):
        yield from node.edges


def _names(node: Node, key: str) -> bool:
    properties = node.keywords.get("properties")
    return isinstance(properties, dict) and key in properties
