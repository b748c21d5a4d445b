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
