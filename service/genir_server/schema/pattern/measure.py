"""Measures regular expressions: how often parts are repeated, and how many states that takes."""

from __future__ import annotations

from genir_server.schema.pattern.syntax import (
    Alternatives,
    Group,
    LookAround,
    Node,
    Pattern,
    Repetition,
    Sequence,
    Text,
)


def max_repetition(pattern: Pattern) -> int:
    """How often one part of the expression is repeated at most; nested repetitions multiply.

    ``*`` and ``+`` count as one, because engines need no more memory for them.
    """
    largest = 1
    pending: list[tuple[Node, int]] = [(pattern.root, 1)]
    while pending:
        node, times = pending.pop()
        largest = max(largest, times)
        pending.extend((part, times * _times(node)) for part in _parts(node))
    return largest


def states(pattern: Pattern) -> int:
    """About how many states a matcher has: the characters with all repetitions expanded."""
    total = 0
    pending: list[tuple[Node, int]] = [(pattern.root, 1)]
    while pending:
        node, times = pending.pop()
        parts = _parts(node)
        if not parts:
            total += times * (len(node.characters) if isinstance(node, Text) else 1)
        pending.extend((part, times * _times(node)) for part in parts)
    return total


def _times(node: Node) -> int:
    return max(1, node.low, node.high or 0) if isinstance(node, Repetition) else 1


def _parts(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Sequence):
        return node.parts
    if isinstance(node, Alternatives):
        return node.options
    if isinstance(node, Group | LookAround | Repetition):
        return (node.body,)
    return ()
