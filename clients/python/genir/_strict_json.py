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

# Some readers round integers from 2^53 on. From 1e21 on, RFC 8785 writes numbers with an exponent,
# which everyone reads as the same double.
_MAX_INTEGER = 2**53 - 1
_FIRST_WITH_EXPONENT = 1e21
_SMALLEST_WITHOUT_EXPONENT = 1e-6
_MAX_DOUBLE_DIGITS = 400
_ROUNDED = "has an integer outside ±(2^53-1), which some readers round"
_OTHER_NUMBER = "a number is not written as ECMAScript writes it"
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKET = re.compile(r"[^][{}]+")
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_NOT_ZERO = re.compile(r"-?[0.]*[1-9]")
_WHITESPACE = re.compile(r"[ \t\n\r]")
_NORMAL_ESCAPE = re.compile(r'\\(?:["\\bfnrt]|u00(?:0[0-7bef]|1[0-9a-f]))')


def read(text: str) -> object:
    """The value of a JSON text.

    Refused are, apart from text that is not JSON: NaN and Infinity, numbers beyond the range of a
    double or so small that they would become 0, integers from 2^53 on that RFC 8785 writes as plain
    digits and larger ones that a double does not keep, an object with the same key twice, half a
    surrogate pair, and nesting deeper than `MAX_DEPTH`.

    Raises:
        ValueError: the text is refused. The message completes the sentence "The text …" and quotes
            nothing of it.

    """
    return _read(text, _DECODER)


def read_normal_form(text: str) -> object:
    """The value of a JSON text in RFC 8785 normal form.

    Nothing is written again to compare the texts: the hooks of the decoder see the text of each
    number and the order of keys, and the rest of a text shows its whitespace and escapes.

    Raises:
        ValueError: `read` refuses the text, or it is not in normal form. The message is like that
            of `read`.

    """
    value = _read(text, _NORMAL_FORM_DECODER)
    if _WHITESPACE.search(text) and _WHITESPACE.search(_STRING.sub("", text)):
        raise _not_normal("there is whitespace between its values")
    if "\\" in text and "\\" in _NORMAL_ESCAPE.sub("", text):
        raise _not_normal("a string has an escape that it does not need or another form of it")
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


def _read(text: str, decoder: json.JSONDecoder) -> object:
    # Measured first, because the reader is recursive.
    if _is_too_deep(text):
        msg = f"nests arrays and objects more than {MAX_DEPTH} deep"
        raise ValueError(msg)
    try:
        value: object = decoder.decode(text)
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
    if len(literal) <= _MAX_DOUBLE_DIGITS:
        number = int(literal)
        if abs(number) <= _MAX_INTEGER:
            return number
        # The engine writes all digits of 1e21, where the normal form has the exponent.
        double = float(literal)
        if _FIRST_WITH_EXPONENT <= abs(double) < math.inf and Decimal(repr(double)) == number:
            return double
    raise ValueError(_ROUNDED)


def _real(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        msg = "has a number beyond the range of a double"
        raise ValueError(msg)
    if number == 0 and _NOT_ZERO.match(literal):
        msg = "has a number so close to zero that a double cannot tell it from zero"
        raise ValueError(msg)
    if _MAX_INTEGER < abs(number) < _FIRST_WITH_EXPONENT:
        raise ValueError(_ROUNDED)
    return number


def _constant(name: str) -> NoReturn:
    msg = f"is not JSON: {name} is not a JSON number"
    raise ValueError(msg)


def _normal_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = _object(pairs)
    if len(members) <= 1:
        return members
    keys = list(members)
    # Only keys outside ASCII can have another order by UTF-16 code units than by characters.
    if keys != sorted(keys, key=None if all(map(str.isascii, keys)) else _utf_16):
        raise _not_normal("the keys of an object are not sorted by UTF-16 code units")
    return members


def _utf_16(key: str) -> bytes:
    # Half a surrogate pair is refused later.
    return key.encode("utf-16-be", "surrogatepass")


def _normal_integer(literal: str) -> float:
    number = _integer(literal)
    if abs(number) > _MAX_INTEGER or literal == "-0":
        raise _not_normal(_OTHER_NUMBER)
    return number


def _normal_real(literal: str) -> float:
    number = _real(literal)
    # ECMAScript writes those without point and exponent.
    if number.is_integer() and abs(number) < _FIRST_WITH_EXPONENT:
        raise _not_normal(_OTHER_NUMBER)
    written = repr(number)
    if "e-" in written and abs(number) >= _SMALLEST_WITHOUT_EXPONENT:
        # Python writes an exponent already below 1e-4.
        written = f"{Decimal(written):f}"
    # Python writes at least two digits of an exponent.
    if literal != written.replace("e-0", "e-"):
        raise _not_normal(_OTHER_NUMBER)
    return number


def _not_normal(difference: str) -> ValueError:
    return ValueError(f"is not in RFC 8785 normal form: {difference}")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_real,
    parse_constant=_constant,
)
_NORMAL_FORM_DECODER = json.JSONDecoder(
    object_pairs_hook=_normal_object,
    parse_int=_normal_integer,
    parse_float=_normal_real,
    parse_constant=_constant,
)
