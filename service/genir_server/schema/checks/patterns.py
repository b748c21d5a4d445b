"""Measures regular expressions in one pass over their text."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""\\.                       # an escaped character
      | \[\^?\]?(?:\\.|[^\]\\])*+\]? # a class
      | \((?:\?(?:[:=!>]|<[=!]|P?<\w+>))?
      | \)
      | \{(\d+)(,(\d*))?\}
      | .""",
    re.VERBOSE | re.DOTALL,
)


def max_repetition(pattern: str) -> int:
    """How often one part of the expression is repeated at most; nested repetitions multiply.

    ``*`` and ``+`` count as one, because engines need no more memory for them.
    """
    stack: list[int] = []
    level = 1
    last = 1
    for match in _TOKEN.finditer(pattern):
        text = match.group()
        if text[0] == "(" and len(text) >= 1:
            stack.append(level)
            level = last = 1
        elif text == ")":
            last = level
            level = max(stack.pop(), level) if stack else level
        elif match.group(1) is not None:
            count = max(int(match.group(1)[:9]), int((match.group(3) or "0")[:9]))
            last *= max(1, count)
            level = max(level, last)
        else:
            last = 1
            level = max(level, last)
    return max([level, *stack])


_PROPERTY_STATES = 1_500
_WIDE_CLASS_STATES = 40
_CHARACTER_STATES = 4
_WIDE_CLASS = re.compile(r"\.|\\[SDW]|\[\^")


def states(pattern: str) -> int:
    """An upper estimate of the states of the expression's automaton, with repetitions expanded.

    Negated classes and ``.`` take several states, because they match characters of one to four
    bytes. Unicode properties take hundreds.
    """
    total = 1
    enclosing: list[int] = []
    last = 0
    for match in _TOKEN.finditer(pattern):
        text = match.group()
        if text[0] == "(":
            enclosing.append(total)
            total = 1
            last = 0
        elif text == ")":
            last = total
            total = (enclosing.pop() if enclosing else 0) + last
        elif match.group(1) is not None:
            count = max(int(match.group(1)[:9]), int((match.group(3) or "0")[:9]))
            added = last * max(0, count - 1)
            total += added
            last += added
        else:
            last = _token_states(text)
            total += last
    return total + sum(enclosing)


def _token_states(text: str) -> int:
    if "\\p" in text or "\\P" in text:
        return _PROPERTY_STATES * (text.count("\\p") + text.count("\\P"))
    if _WIDE_CLASS.match(text):
        return _WIDE_CLASS_STATES + _CHARACTER_STATES * len(text)
    return _CHARACTER_STATES * len(text) if text[0] == "[" else _CHARACTER_STATES
