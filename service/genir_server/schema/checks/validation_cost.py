"""Finds schemas under which checking one value may take exponential time.

A validator checks a part of a value once for every schema that applies there. Where two schemas
apply to one part and each applies two to a part of that, the work doubles from level to level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.checks.patterns import largest_repetition
from genir_server.schema.read.cycles import cycles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genir_server.schema.read.document import Document, Node

_ANY_PROPERTY = "properties"
_ANY_ITEM = "items"
_MOST_WORK = 200_000
_MOST_EVALUATIONS = 2_000
_MOST_STATES = 5_000


def explosive(document: Document) -> bool:
    """Whether the work at one place in a value is not bounded by a modest number.

    Errs on the side of saying yes.
    """
    return not _small_written_out(document) and _Growth(document).explosive()


def _small_written_out(document: Document) -> bool:
    """Whether nothing is in a cycle and all references, written out, make a small schema.

    No place can then collect more work than the whole has schemas. True of most, and found in one
    walk.
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
            if size > _MOST_EVALUATIONS:
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


def repetitive(document: Document) -> bool:
    """Whether the regular expressions are so large that matching them may take long.

    Validators match in time that is in proportion to the text *and* to the expressions with their
    repetitions written out.
    """
    states = sum(
        len(pattern) * largest_repetition(pattern)
        for node in document.nodes.values()
        for pattern in _patterns(node.keywords)
    )
    return states > _MOST_STATES


def _patterns(keywords: dict[str, object]) -> Iterator[str]:
    pattern = keywords.get("pattern")
    if isinstance(pattern, str):
        yield pattern
    named = keywords.get("patternProperties")
    if isinstance(named, dict):
        yield from named


class _Growth:
    def __init__(self, document: Document) -> None:
        self._nodes = document.nodes
        self._cycle = cycles(document)
        self._work = 0

    def explosive(self) -> bool:
        """Whether any place collects too much work."""
        meeting: dict[str, list[list[str]]] = {}
        weight: dict[str, int] = {}
        pending = [""]
        while pending:
            pointer = pending.pop()
            if pointer in meeting:
                continue
            members = self._members(pointer)
            if members is None:
                return True
            weight[pointer] = len(members)
            places = self._places(members)
            meeting[pointer] = places
            for targets in places:
                own = self._cycle[pointer]
                if sum(self._returns(target, own) for target in targets) > 1:
                    return True
                pending.extend(targets)
        return self._heaviest(meeting, weight) > _MOST_EVALUATIONS

    def _returns(self, pointer: str, cycle: str) -> bool:
        """Whether a schema, or one it applies in place, is part of a cycle."""
        members = self._members(pointer)
        return members is None or any(self._cycle[member] == cycle for member in members)

    def _members(self, pointer: str) -> list[str] | None:
        """Every schema that applies where this one does, as often as it does; None: too many."""
        members: list[str] = []
        pending = [pointer]
        while pending:
            member = pending.pop()
            members.append(member)
            pending.extend(edge.target for edge in self._nodes[member].edges if edge.in_place)
            self._work += 1
            if self._work > _MOST_WORK:
                return None
        return members

    def _places(self, members: list[str]) -> list[list[str]]:
        """For each part of a value, the schemas that meet there."""
        named: dict[str, list[str]] = {}
        general: dict[str, list[tuple[Node, str]]] = {_ANY_PROPERTY: [], _ANY_ITEM: []}
        for member in members:
            node = self._nodes[member]
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

    def _heaviest(self, meeting: dict[str, list[list[str]]], weight: dict[str, int]) -> int:
        """The most work that comes together along one way into a value, cycles walked once."""
        heaviest: dict[str, int] = {}
        entered: set[str] = set()
        pending = [""]
        while pending:
            pointer = pending[-1]
            if pointer in heaviest:
                pending.pop()
            elif pointer in entered:
                pending.pop()
                heaviest[pointer] = weight[pointer] + max(
                    (
                        sum(heaviest.get(target, 1) for target in targets)
                        for targets in meeting[pointer]
                    ),
                    default=0,
                )
            else:
                entered.add(pointer)
                pending.extend(
                    target
                    for targets in meeting[pointer]
                    for target in targets
                    if target not in entered
                )
        return heaviest[""]


def _names(node: Node, key: str) -> bool:
    properties = node.keywords.get("properties")
    return isinstance(properties, dict) and key in properties
