"""Step 4, normalize: strict reading of JSON text and RFC 8785 writing.

Text that passes means the same to every reader: it has no duplicate keys, no numbers that some
readers round or refuse, and no characters that cannot be encoded. Every normal form passes the
strict reading again.
"""

from __future__ import annotations

import json
import math
import re
from enum import StrEnum
from json.encoder import encode_basestring
from typing import NoReturn, TypeAlias

import rfc8785

from genir_server.domain.numbers import FIRST_WITH_EXPONENT, MAX_INTEGER, read_large_integer

JSONValue: TypeAlias = "bool | int | float | str | list[JSONValue] | dict[str, JSONValue] | None"
"""A parsed JSON value."""

MAX_DEPTH = 256
"""Maximum nesting of arrays and objects."""

_INTEGER_DIGITS = len(str(MAX_INTEGER))
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[][{}]', re.DOTALL)

_PLAIN_WRITER = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False
)

_TOO_DEEP = f"it nests arrays and objects more than {MAX_DEPTH} deep"
DUPLICATE_KEY = "an object in it has the same key twice"
_LONE_SURROGATE = "a string in it has half a surrogate pair, which UTF-8 cannot encode"
_INTEGER_TOO_LARGE = "it has an integer outside ±(2^53-1), which some readers round"
_NUMBER_TOO_LARGE = "it has a number beyond the range of a double"
_NUMBER_TOO_SMALL = "it has a number so close to zero that a double cannot tell it from zero"


class NotNormalizableKind(StrEnum):
    """Why a text or a value has no normal form."""

    NOT_JSON = "not_json"
    """The text is not one complete JSON value: truncated, malformed, or followed by more."""

    NO_NORMAL_FORM = "no_normal_form"
    """It is JSON, but readers would interpret it differently."""


class NotNormalizableError(ValueError):
    """A text or value that has no normal form.

    The message completes the sentence "The text has no normal form: …" and quotes nothing of it.
    """

    def __init__(self, kind: NotNormalizableKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def parse_strict(text: str) -> JSONValue:
    """Reads exactly one JSON value and refuses what readers interpret differently.

    Refused are: duplicate keys, even if they differ in escapes; NaN and Infinity; numbers beyond
    the range of a double, or so small that they would become 0; integers beyond `MAX_INTEGER` up
    to 1e21, which RFC 8785 writes as plain digits, and larger ones whose digits a double does not
    keep; halves of surrogate pairs; text after the value; nesting deeper than `MAX_DEPTH`.

    Raises:
        NotNormalizableError: the text is refused. Truncated or malformed text is reported as such,
            whatever other faults it has.

    """
    value = _read(text)
    _require_normal_form(value)
    return value


def normalize(value: JSONValue) -> str:
    """The normal form of a value: its RFC 8785 text. Minus zero becomes 0.

    Raises:
        NotNormalizableError: the value has no normal form, for the reasons named at `parse_strict`.

    """
    if _require_normal_form(value):
        return _PLAIN_WRITER.encode(value)
    parts: list[str] = []
    _write(value, parts)
    return "".join(parts)


def _write(value: JSONValue, parts: list[str]) -> None:
    """Appends the RFC 8785 text of a value that has one.

    rfc8785 writes the numbers. It writes strings a hundred times as slowly as the JSON module,
    because it calls Python for each character that is escaped.
    """
    if isinstance(value, str):
        parts.append(encode_basestring(value))
    elif isinstance(value, dict):
        parts.append("{")
        for key in sorted(value, key=_utf_16):
            parts += (encode_basestring(key), ":")
            _write(value[key], parts)
            parts.append(",")
        _close(parts, "{", "}")
    elif isinstance(value, list):
        parts.append("[")
        for element in value:
            _write(element, parts)
            parts.append(",")
        _close(parts, "[", "]")
    else:
        parts.append(rfc8785.dumps(value).decode())


def _close(parts: list[str], start: str, end: str) -> None:
    """Ends an array or object: in the place of the last comma, if it has any entry."""
    if parts[-1] == start:
        parts.append(end)
    else:
        parts[-1] = end


def _utf_16(key: str) -> bytes:
    return key.encode("utf-16-be")


def normal_form(text: str) -> str:
    """``normalize(parse_strict(text))``, with one walk through the value instead of two.

    Raises:
        NotNormalizableError: see `parse_strict`.

    """
    return normalize(_read(text))


class _Reader:
    """A JSON decoder that records the first fault and reads on.

    Only reading on shows whether the text is complete: truncated text is reported as such, whatever
    else is wrong with it.
    """

    def __init__(self) -> None:
        self.fault: str | None = None
        self.decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_int=self._integer,
            parse_float=self._real,
            parse_constant=self._constant,
        )

    def _object(self, pairs: list[tuple[str, JSONValue]]) -> dict[str, JSONValue]:
        members = dict(pairs)
        if len(members) != len(pairs):
            self.fault = self.fault or DUPLICATE_KEY
        return members

    def _integer(self, literal: str) -> float:
        if len(literal.lstrip("-")) <= _INTEGER_DIGITS:
            return int(literal)
        # The engine writes all digits of a constant such as 1e21.
        number = read_large_integer(literal)
        if number is None:
            self.fault = self.fault or _INTEGER_TOO_LARGE
            return 0
        return number

    def _real(self, literal: str) -> float:
        number = float(literal)
        if number == 0 and re.match(r"-?[0.]*[1-9]", literal):
            self.fault = self.fault or _NUMBER_TOO_SMALL
        return number

    def _constant(self, name: str) -> NoReturn:
        raise NotNormalizableError(
            NotNormalizableKind.NOT_JSON, f"it is not JSON: {name} is not a JSON number"
        )


def _read(text: str) -> JSONValue:
    """Reads a value and refuses only faults that the parsed value would no longer show."""
    _refuse_deep_nesting(text)
    reader = _Reader()
    try:
        value: JSONValue = reader.decoder.decode(text)
    except json.JSONDecodeError as error:
        where = f"{error.msg} at character {error.pos}"
        raise NotNormalizableError(
            NotNormalizableKind.NOT_JSON, f"it is not JSON: {where}"
        ) from None
    except RecursionError:
        raise _no_normal_form(_TOO_DEEP) from None
    if reader.fault is not None:
        raise _no_normal_form(reader.fault)
    return value


def _no_normal_form(message: str) -> NotNormalizableError:
    return NotNormalizableError(NotNormalizableKind.NO_NORMAL_FORM, message)


def _refuse_deep_nesting(text: str) -> None:
    """Refuses nesting that would exhaust the recursive decoder, before decoding."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = deepest = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        if match[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif match[0] in "]}":
            depth -= 1
    if deepest > MAX_DEPTH:
        if depth > 0:
            raise NotNormalizableError(
                NotNormalizableKind.NOT_JSON, f"it ends before it is complete, and {_TOO_DEEP}"
            )
        raise _no_normal_form(_TOO_DEEP)


def _require_normal_form(value: JSONValue) -> bool:
    """Walks a value without recursion and refuses what RFC 8785 cannot write and read back.

    Returns:
        Whether Python's JSON writer gives the same text. RFC 8785 formats floats differently and
        sorts keys by UTF-16 code units.

    """
    plain = True
    stack: list[tuple[int, JSONValue]] = [(0, value)]
    while stack:
        depth, item = stack.pop()
        if isinstance(item, str):
            _require_encodable(item)
        elif isinstance(item, dict):
            if depth == MAX_DEPTH:
                raise _no_normal_form(_TOO_DEEP)
            depth += 1
            for key, member in item.items():
                if not key.isascii():
                    _require_encodable(key)
                    plain = False
                stack.append((depth, member))
        elif isinstance(item, list):
            if depth == MAX_DEPTH:
                raise _no_normal_form(_TOO_DEEP)
            depth += 1
            stack.extend([(depth, element) for element in item])
        elif isinstance(item, float):
            _require_exact(item)
            plain = False
        elif isinstance(item, int) and abs(item) > MAX_INTEGER:
            raise _no_normal_form(_INTEGER_TOO_LARGE)
    return plain


def _require_exact(number: float) -> None:
    if not math.isfinite(number):
        raise _no_normal_form(_NUMBER_TOO_LARGE)
    if MAX_INTEGER < abs(number) < FIRST_WITH_EXPONENT:
        raise _no_normal_form(_INTEGER_TOO_LARGE)


def _require_encodable(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _no_normal_form(_LONE_SURROGATE) from None
