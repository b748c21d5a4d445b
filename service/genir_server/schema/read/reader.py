"""Reads a schema's text strictly.

`json.loads` is recursive, so the nesting of the text is measured first, iteratively.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, NoReturn

from genir_server.schema.errors import SchemaRefusedError, invalid, too_complex
from genir_server.schema.read.pointer import join

if TYPE_CHECKING:
    from genir_server.schema.limits import SchemaLimits

_TYPE_NAMES = {list: "an array", str: "a string", int: "a number", float: "a number"}

_MAX_DIGITS = 400
_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_STRUCTURE_AND_COMMAS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]|,', re.DOTALL)
_NOT_ZERO = re.compile("-?[0.]*[1-9]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def read(text: str, limits: SchemaLimits) -> dict[str, object] | bool:
    """The schema in `text`.

    Refuses what JSON parsers disagree about: repeated keys, NaN and Infinity, numbers that a double
    does not hold, and unpaired surrogates.

    Raises:
        SchemaRefusedError: SCHEMA_INVALID or SCHEMA_TOO_COMPLEX.

    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise invalid("The schema's text contains an unpaired surrogate.") from None
    if size > limits.schema_bytes:
        raise too_complex(
            "The schema's text is too long", "schema_bytes", limits.schema_bytes, size
        )
    _check_nesting(text, limits.nesting)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except json.JSONDecodeError as fault:
        raise invalid(
            f"The schema is not JSON: {fault.msg} at line {fault.lineno}, column {fault.colno}."
        ) from None
    if not isinstance(value, dict | bool):
        kind = _TYPE_NAMES.get(type(value), "null")
        raise invalid(f"A schema must be an object, true or false, not {kind}.")
    return value


def _check_nesting(text: str, max_depth: int) -> None:
    depth = deepest = 0
    for match in _STRUCTURE.finditer(text):
        first = match.group()[0]
        if first in "[{":
            depth += 1
            if depth > deepest:
                deepest = depth
                if depth == max_depth + 1:
                    first_too_deep = match.start()
        elif first in "]}":
            depth -= 1
    if deepest > max_depth:
        line = text.count("\n", 0, first_too_deep) + 1
        column = first_too_deep - text.rfind("\n", 0, first_too_deep)
        raise too_complex(
            f"The schema is nested too deeply (line {line}, column {column})",
            "nesting",
            max_depth,
            deepest,
            _pointer_to(text, first_too_deep),
        )


def _pointer_to(text: str, end: int) -> str:
    """The pointer to the value that begins at `end`. The text need not be JSON."""
    path: list[str | int] = []
    for match in _STRUCTURE_AND_COMMAS.finditer(text, 0, end):
        part = match.group()
        if part in "[{":
            path.append(0 if part == "[" else "")
        elif part in "]}":
            # A text that is not JSON may have too many closing brackets.
            del path[-1:]
        elif not path:
            continue
        elif part == ",":
            if isinstance(last := path[-1], int):
                path[-1] = last + 1
        elif isinstance(path[-1], str):
            # The last string before a bracket is the key of what the bracket opens.
            path[-1] = part
    return join(_name(part) if isinstance(part, str) else part for part in path)


def _name(token: str) -> str:
    """The value of a JSON string, or its text if it has no valid value."""
    try:
        name = str(json.loads(token))
        name.encode()
    except ValueError:
        return token.strip('"')
    return name


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise invalid(f"The key {_shown(key)} occurs twice in an object of the schema.")
            seen.add(key)
    for key, item in pairs:
        _check_text(key)
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, list):
            for entry in item:
                if isinstance(entry, str):
                    _check_text(entry)
    return value


def _check_text(text: str) -> None:
    if not text.isascii() and _SURROGATE.search(text):
        raise invalid(f"The string {_shown(text)} contains an unpaired surrogate.")


def _constant(name: str) -> NoReturn:
    raise invalid(f"The schema contains {name}, which is not JSON.")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise invalid(f"The number {text[:40]} is too large.")
    if value == 0 and _NOT_ZERO.match(text):
        raise invalid(f"The number {text[:40]} is so close to zero that a double cannot tell them.")
    # The validator would read all digits, and everyone else this double.
    if value and Decimal(text) != Decimal(repr(value)):
        raise invalid(
            f"The number {text[:40]} has more digits than a double holds: write {value!r}."
        )
    return value


def _int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise invalid(f"The number {text[:40]}… of {len(text)} digits is too large.")
    value = int(text)
    try:
        float(value)
    except OverflowError:
        raise invalid(f"The number {text[:40]}… is too large.") from None
    return value


def _shown(text: str) -> str:
    return json.dumps(text[:60])


__all__ = ["SchemaRefusedError", "read"]
