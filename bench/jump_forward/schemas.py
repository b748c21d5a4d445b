"""Schemas of many shapes, small enough that a short completion reaches their end."""

from __future__ import annotations

from typing import Any


def _named(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _object(**properties: Any) -> dict[str, Any]:  # noqa: ANN401
    return _named(properties)


def _array(items: dict[str, Any], min_items: int = 0, max_items: int = 3) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": min_items, "maxItems": max_items}


_WORD: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 12}
_LINE: dict[str, Any] = {"type": "string", "maxLength": 40}
_DIGIT: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 9}
_FLAG: dict[str, Any] = {"type": "boolean"}

SCHEMAS: dict[str, dict[str, Any]] = {
    "cat": _object(name=_WORD, colour={"enum": ["black", "white", "red"]}, lives=_DIGIT),
    "long keys": _object(
        a_rather_long_name_of_a_property=_FLAG,
        another_name_that_nobody_would_abbreviate=_FLAG,
        theLastOneInCamelCaseForAChange=_FLAG,
    ),
    "short keys": _object(a=_DIGIT, b=_DIGIT, c=_DIGIT, d=_DIGIT),
    "constants": _object(
        version={"const": "2026-11-24T00:00:00Z"}, kind={"const": "function"}, ok={"const": True}
    ),
    "nothing to choose": _object(only={"const": [1, 2, {"three": None}]}),
    "common prefixes": _object(
        action={"enum": ["create_user", "create_group", "create_role", "delete_user"]},
        reason={"enum": ["user_request", "user_error"]},
    ),
    "one common letter": _object(word={"enum": ["été", "élan", "école"]}, more=_WORD),
    "other scripts": _named({"имя": _WORD, "名前": _WORD, "naïve café": _FLAG}),
    "awkward keys": _named({"a b": _DIGIT, 'say "hi"': _DIGIT, "back\\slash": _DIGIT, "": _DIGIT}),
    "symbols": _object(operator={"enum": ["+=", "-=", "=>", "->", "::"]}, count=_DIGIT),
    "numbers": _object(
        whole={"type": "integer", "minimum": -999, "maximum": 999},
        part={"type": "number", "minimum": 0, "maximum": 1},
    ),
    "number constants": _object(year={"enum": [1999, 2001, 2026]}, pi={"const": 3.14159}),
    "null or text": _object(note={"anyOf": [{"type": "null"}, _WORD]}, end=_FLAG),
    "nested": _object(outer=_object(middle=_object(inner=_object(value=_WORD)))),
    "list of objects": _object(items=_array(_object(id=_DIGIT, label=_WORD), 1)),
    "list of lists": _object(rows=_array(_array(_DIGIT, 1), 1)),
    "list of choices": _object(tags=_array({"enum": ["alpha", "beta", "gamma"]}, 1, 4)),
    "top-level list": _array(_object(x=_DIGIT, y=_DIGIT), 1),
    "top-level choice": {"enum": ["yes", "no", "maybe"]},
    "top-level number": {"type": "integer", "minimum": 1, "maximum": 99999},
    "optional": _named(
        {"name": _WORD, "nick": _WORD, "age": _DIGIT, "active": _FLAG}, optional=("nick", "age")
    ),
    "one of two": {
        "anyOf": [
            _object(kind={"const": "circle"}, radius=_DIGIT),
            _object(kind={"const": "square"}, side=_DIGIT, rotated=_FLAG),
        ]
    },
    "open": {
        "type": "object",
        "properties": {"north": _DIGIT},
        "required": ["north"],
        "additionalProperties": _DIGIT,
    },
    "pattern": _object(code={"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}, next=_FLAG),
    "date": _object(
        day={"type": "string", "format": "date"}, time={"type": "string", "format": "time"}
    ),
    "text": _object(summary=_LINE, detail=_LINE),
    "function": _object(
        name=_WORD,
        parameters=_array(_object(name=_WORD, type_hint={"enum": ["int", "str", "bool"]})),
        returns={"enum": ["int", "str", "bool", "none"]},
        effects=_array(_LINE, 0, 2),
        metadata=_object(language={"const": "python"}, confidence=_DIGIT),
    ),
}
"""Schemas by name."""
