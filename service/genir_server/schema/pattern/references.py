"""Decides what a back-reference matches, where other engines would match something else.

In ECMA-262 a reference to a group that took no part matches the empty string, and every repetition
forgets the groups inside it. In fancy-regex the first fails and the second does not happen.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from genir_server.schema.pattern.syntax import (
    Alternatives,
    BackReference,
    Group,
    LookAround,
    PatternUnsupportedError,
    Repetition,
    Sequence,
)

if TYPE_CHECKING:
    from genir_server.schema.pattern.syntax import Node, Pattern

# The parts around a part, outermost first, each with the index of the one inside it.
_Path = tuple[tuple["Node", int], ...]


class Use(Enum):
    """What is known about the group when a reference to it is reached."""

    ABSENT = "it took no part"
    PRESENT = "it took part"
    UNKNOWN = "it may have taken part"


def uses(pattern: Pattern) -> dict[int, tuple[Use, int]]:
    """For each back-reference, by its start: what is known, and the group's number.

    Raises:
        PatternUnsupportedError: it cannot be decided.

    """
    groups: dict[int, _Path] = {}
    references: list[tuple[BackReference, _Path]] = []
    _walk(pattern.root, (), groups, references)
    found = {}
    for reference, path in references:
        target = reference.target
        numbers = (target,) if isinstance(target, int) else pattern.names[target]
        if len(numbers) > 1:
            raise PatternUnsupportedError(
                "a back-reference to two groups of the same name is not supported",
                reference.start,
            )
        use = _use(reference, path, groups[numbers[0]])
        found[reference.start] = use, numbers[0]
    return found


def _walk(
    node: Node,
    path: _Path,
    groups: dict[int, _Path],
    references: list[tuple[BackReference, _Path]],
) -> None:
    if isinstance(node, BackReference):
        references.append((node, path))
    elif isinstance(node, Sequence | Alternatives):
        parts = node.parts if isinstance(node, Sequence) else node.options
        for index, part in enumerate(parts):
            _walk(part, (*path, (node, index)), groups, references)
    elif isinstance(node, Group | LookAround | Repetition):
        inside = (*path, (node, 0))
        if isinstance(node, Group) and node.number:
            groups[node.number] = inside
        _walk(node.body, inside, groups, references)


def _use(reference: BackReference, path: _Path, group: _Path) -> Use:
    common = next(
        (
            index
            for index, (mine, other) in enumerate(zip(path, group, strict=False))
            if mine != other
        ),
        min(len(path), len(group)),
    )
    if common == len(group):
        # Inside the group itself, which has not matched yet.
        return Use.ABSENT
    if any(isinstance(node, LookAround) and node.behind for node, _ in (*path, *group)):
        raise PatternUnsupportedError(
            "a back-reference beside a look-behind is not supported", reference.start
        )
    fork, index = group[common]
    if isinstance(fork, Alternatives) or index > path[common][1]:
        return Use.ABSENT
    way = [node for node, _ in group[common + 1 :]]
    if any(isinstance(node, LookAround) and node.negative for node in way):
        return Use.ABSENT
    repetitions = [node for node in way if isinstance(node, Repetition)]
    if any(node.high != 1 for node in repetitions):
        raise PatternUnsupportedError(
            "a back-reference to a group inside a repetition is not supported", reference.start
        )
    optional = any(node.low == 0 for node in repetitions)
    if optional and any(isinstance(node, LookAround) for node in way):
        # ECMA-262 leaves out an optional part that would match the empty string.
        raise PatternUnsupportedError(
            "a back-reference to a look-ahead inside an optional part is not supported",
            reference.start,
        )
    if not optional and not any(isinstance(node, Alternatives) for node in way):
        return Use.PRESENT
    if any(isinstance(node, Repetition) and node.high != 1 for node, _ in path[:common]):
        raise PatternUnsupportedError(
            "a back-reference in a repetition to a group that may take no part is not supported",
            reference.start,
        )
    return Use.UNKNOWN
