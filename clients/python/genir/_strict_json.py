"""Reads JSON of which every reader makes the same value. Pure."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from itertools import accumulate
from typing import Any, NoReturn

MAX_DEPTH = 256
"""Maximum nesting of arrays and objects, as the contract says for ``ir_json``."""

# RFC 8785 writes numbers of more digits with an exponent.
_MAX_INTEGER_DIGITS = 21
_MAX_DOUBLE_DIGITS = 400
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NO_BRACKET = re.compile(r"[^][{}]+")
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def read(text: str) -> object:
    """The value of a JSON text.

    Refused are, apart from text that is not JSON: NaN and Infinity, numbers beyond the range of a
    double, integers of more than 21 digits that a double does not keep, an object with the same
    key twice, half a surrogate pair, and nesting deeper than `MAX_DEPTH`.

    Raises:
        ValueError: the text is refused. The message completes the sentence "The text …" and quotes
            nothing of it.

    """
    # Measured first, because the reader is recursive.
    if _is_too_deep(text):
        msg = f"nests arrays and objects more than {MAX_DEPTH} deep"
        raise ValueError(msg)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        msg = f"is not JSON: {error.msg} at character {error.pos}"
        raise ValueError(msg) from None
    # Python's strings may hold half a pair, but UTF-8 may not. Only an escape can make one.
    if _SURROGATE_ESCAPE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            msg = "has a string with half a surrogate pair"
            raise ValueError(msg) from None
    return value


def same(one: object, other: object) -> bool:
    """Whether two values that `read` returned are the same JSON value.

    1 and 1.0 are the same number. Python's ``==`` would also say that of 1 and true.
    """
    pairs = [(one, other)]
    while pairs:
        left, right = pairs.pop()
        if isinstance(left, dict) and isinstance(right, dict):
            if left.keys() != right.keys():
                return False
            pairs.extend((value, right[key]) for key, value in left.items())
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            pairs.extend(zip(left, right, strict=True))
        elif left != right or isinstance(left, bool) is not isinstance(right, bool):
            return False
    return True


def _is_too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    brackets = _NO_BRACKET.sub("", _STRING.sub("", text))
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        msg = "has an object with the same key twice"
        raise ValueError(msg)
    return members


def _integer(literal: str) -> float:
    if len(literal.lstrip("-")) <= _MAX_INTEGER_DIGITS:
        return int(literal)
    # The engine writes all digits of 1e21, where the normal form has the exponent.
    number = float(literal) if len(literal) <= _MAX_DOUBLE_DIGITS else math.inf
    if math.isinf(number) or Decimal(repr(number)) != Decimal(literal):
        msg = f"has an integer of more than {_MAX_INTEGER_DIGITS} digits"
        raise ValueError(msg)
    return number


def _real(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        msg = "has a number beyond the range of a double"
        raise ValueError(msg)
    return number


def _constant(name: str) -> NoReturn:
    msg = f"is not JSON: {name} is not a JSON number"
    raise ValueError(msg)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_real,
    parse_constant=_constant,
)
