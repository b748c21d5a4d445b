"""`genir.IR` says what the built-in schema says, but for lengths, patterns and descriptions."""

from __future__ import annotations

from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import genir.ir
from genir import IR
from genir.schemas import builtin_ir_schema

Shape = tuple[Any, ...]


def of_schema(schema: dict[str, Any]) -> Shape:
    """The shape of a part of the built-in schema."""
    match schema:
        case {"type": "object", "properties": properties, "additionalProperties": False}:
            required = schema["required"]
            return (
                "object",
                {name: (name in required, of_schema(each)) for name, each in properties.items()},
            )
        case {"type": "array", "items": items}:
            return ("array", of_schema(items))
        case {"anyOf": choices}:
            return ("anyOf", [of_schema(each) for each in choices])
        case {"enum": values}:
            return ("enum", values)
        case {"const": value}:
            return ("enum", [value])
        case {"type": "string"}:
            return ("string",)
    raise AssertionError(schema)


def of_type(hint: Any) -> Shape:
    """The same shape, of a part of the types."""
    if is_typeddict(hint):
        required = hint.__required_keys__
        hints = get_type_hints(hint)
        return ("object", {name: (name in required, of_type(hints[name])) for name in hints})
    if get_origin(hint) is list:
        return ("array", of_type(*get_args(hint)))
    if get_origin(hint) is Literal:
        return ("enum", list(get_args(hint)))
    if get_origin(hint) is Union or type(hint).__name__ == "UnionType":
        return ("anyOf", [of_type(each) for each in get_args(hint)])
    assert hint is str
    return ("string",)


def test_types_say_the_same_as_the_schema() -> None:
    assert of_type(IR) == of_schema(builtin_ir_schema())


def test_comparison_finds_a_difference() -> None:
    schema = builtin_ir_schema()
    schema["properties"]["holes"]["items"]["required"].pop()
    assert of_type(IR) != of_schema(schema)


def test_every_type_is_documented() -> None:
    names = [name for name, value in vars(genir.ir).items() if is_typeddict(value)]
    assert len(names) == 11
    assert all(getattr(genir.ir, name).__doc__ for name in names)
