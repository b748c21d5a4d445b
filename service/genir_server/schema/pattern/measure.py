"""Measures regular expressions: how often parts are repeated, and how many states that takes."""

from __future__ import annotations

from genir_server.schema.pattern.syntax import (
    Alternatives,
    CharacterClass,
    Dot,
    Group,
    LookAround,
    Node,
    Pattern,
    Property,
    Range,
    Repetition,
    Sequence,
    Shorthand,
    Text,
)

_PROPERTY_STATES = 1_500
_WIDE_CLASS_STATES = 40
_CHARACTER_STATES = 4
_LAST_ASCII = 0x7F


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


def has_nested_repetition(pattern: Pattern) -> bool:
    """Whether a part is repeated that has a part which may be repeated differently often."""
    pending: list[tuple[Node, bool]] = [(pattern.root, False)]
    while pending:
        node, inside = pending.pop()
        if isinstance(node, Repetition):
            if inside and node.low != node.high:
                return True
            inside = inside or node.high != 1
        pending.extend((part, inside) for part in _parts(node))
    return False


def states(pattern: Pattern) -> int:
    """An upper estimate of the states of the expression's automaton, with repetitions expanded.

    Negated classes, ``.`` and characters beyond ASCII take several states, because they match
    characters of one to four bytes. Unicode properties take hundreds.
    """
    total = 1
    pending: list[tuple[Node, int]] = [(pattern.root, 1)]
    while pending:
        node, times = pending.pop()
        total += times * _own_states(node)
        pending.extend((part, times * _times(node)) for part in _parts(node))
    return total


def _own_states(node: Node) -> int:
    if isinstance(node, Text):
        return _CHARACTER_STATES * len(node.characters)
    if isinstance(node, Dot):
        return _WIDE_CLASS_STATES + _CHARACTER_STATES
    if isinstance(node, CharacterClass):
        wide = node.negated or any(map(_is_wide, node.items))
        properties = sum(isinstance(item, Property) for item in node.items)
        return (
            _CHARACTER_STATES * (node.end - node.start)
            + _WIDE_CLASS_STATES * wide
            + _PROPERTY_STATES * properties
        )
    return 0 if isinstance(node, Sequence) else 1


def _is_wide(item: Range | Shorthand | Property) -> bool:
    if isinstance(item, Range):
        return item.high > _LAST_ASCII
    return isinstance(item, Shorthand) and item.letter not in "dw"


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
