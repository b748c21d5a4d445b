"""The built-in IR schema and the example schemas: valid, enforceable in full, and bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
from llguidance import LLMatcher, LLTokenizer

from genir.schemas import builtin_ir_schema, builtin_ir_schema_text

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[3] / "examples" / "schemas"
NAMES = ("builtin", "typescript", "python", "rust", "go")

# What a small model's tokenizer makes of English text and of JSON's punctuation.
CHARACTERS_PER_TOKEN = 4

MINIMAL_IR: dict[str, Any] = {
    "intent": {"summary": "Does a job."},
    "signature": {"name": "f", "parameters": [], "returns": "None"},
    "effects": [],
    "assertions": [],
    "metadata": {},
}

MINIMAL: dict[str, dict[str, Any]] = {
    "builtin": MINIMAL_IR,
    "typescript": {
        "imports": [],
        "signature": {
            "name": "f",
            "async": False,
            "type_parameters": [],
            "parameters": [],
            "return_type": "void",
        },
        "variables": [],
        "body_statements": [{"type": "return", "code": "return;"}],
    },
    "python": {
        "imports": [],
        "signature": {
            "name": "f",
            "kind": "function",
            "decorators": [],
            "parameters": [],
            "returns": "None",
        },
        "docstring": {"summary": "Does a job.", "raises": []},
        "variables": [],
        "body_statements": [{"type": "return", "code": "return"}],
    },
    "rust": {
        "imports": [],
        "signature": {
            "visibility": "private",
            "qualifiers": [],
            "name": "f",
            "generics": [],
            "parameters": [],
            "returns": "()",
        },
        "variables": [],
        "body_statements": [{"type": "return", "code": "return;"}],
    },
    "go": {
        "package": "main",
        "imports": [],
        "signature": {"name": "f", "parameters": [], "variadic": False, "results": []},
        "variables": [],
        "body_statements": [{"type": "return", "code": "return"}],
        "error_handling": [],
    },
}

WHOLE_IR: dict[str, Any] = {
    "intent": {"summary": "Finds the first even number.", "rationale": "Callers need one."},
    "signature": {
        "name": "first_even",
        "parameters": [
            {"name": "numbers", "type_hint": "list[int]", "description": "Where to look."}
        ],
        "returns": "int | None",
    },
    "effects": [{"description": "Logs a line when there is none."}],
    "assertions": [{"predicate": "result is None or result % 2 == 0", "rationale": "It is even."}],
    "constraints": [
        {"type": "return", "severity": "error", "value": "the first even number, or None"},
        {"type": "loop", "severity": "warning", "over": "numbers", "stops": "first_match"},
        {
            "type": "position",
            "severity": "info",
            "first": "the check for an empty list",
            "relation": "before",
            "second": "the loop",
        },
    ],
    "holes": [
        {
            "identifier": "log_level",
            "kind": "effect",
            "type_hint": "int",
            "description": "How loud the log line is.",
        }
    ],
    "metadata": {
        "source_path": "src/first.py",
        "language": "python",
        "origin": "prompt",
        "evidence": "the first even number",
    },
}


def schema_text(name: str) -> str:
    if name == "builtin":
        return builtin_ir_schema_text()
    return (EXAMPLES / f"{name}_function.schema.json").read_text(encoding="utf-8")


def validator(name: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.Draft202012Validator(json.loads(schema_text(name)))


def subschemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    for keyword in ("properties", "$defs"):
        for inner in schema.get(keyword, {}).values():
            yield from subschemas(inner)
    for inner in schema.get("anyOf", []):
        yield from subschemas(inner)
    if "items" in schema:
        yield from subschemas(schema["items"])


def largest(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """The longest value that a schema accepts; knows only the keywords of these schemas."""
    match schema:
        case {"$ref": pointer}:
            value = largest(root["$defs"][pointer.removeprefix("#/$defs/")], root)
        case {"const": value}:
            pass
        case {"enum": choices}:
            value = max(choices, key=len)
        case {"anyOf": branches}:
            value = max((largest(branch, root) for branch in branches), key=lambda v: len(str(v)))
        case {"type": "string", "maxLength": length}:
            value = "a" * length
        case {"type": "array", "maxItems": length, "items": items}:
            value = [largest(items, root)] * length
        case {"type": "object", "properties": properties}:
            value = {key: largest(inner, root) for key, inner in properties.items()}
        case {"type": "boolean"}:
            value = False
        case _:
            pytest.fail(f"a keyword that these schemas do not use: {schema}")
    return value


def accepts(name: str, instance: object) -> bool:
    """Whether llguidance lets a model write the instance and stop."""
    matcher = LLMatcher(
        LLTokenizer("byte"),
        LLMatcher.grammar_from_json_schema(
            schema_text(name), overrides={"whitespace_flexible": False}
        ),
    )
    text = json.dumps(instance, separators=(",", ":"))
    return bool(matcher.consume_tokens(list(text.encode())) and matcher.is_accepting())


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_valid_2020_12(name: str) -> None:
    schema = json.loads(schema_text(name))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].startswith("urn:genir:")
    jsonschema_rs.meta.validate(schema)


@pytest.mark.parametrize("name", NAMES)
def test_llguidance_enforces_the_whole_schema(name: str) -> None:
    grammar = LLMatcher.grammar_from_json_schema(schema_text(name))
    assert LLMatcher.validate_grammar_with_warnings(grammar) == (False, [])


@pytest.mark.parametrize("name", NAMES)
def test_strings_arrays_and_objects_are_bounded(name: str) -> None:
    seen = set()
    for schema in subschemas(json.loads(schema_text(name))):
        seen.add(schema.get("type"))
        match schema.get("type"):
            case "string":
                assert "maxLength" in schema
                assert "minLength" in schema or "pattern" in schema
            case "array":
                assert "maxItems" in schema
            case "object":
                assert schema["additionalProperties"] is False
                assert set(schema["required"]) <= set(schema["properties"])
    assert {"string", "array", "object"} <= seen


@pytest.mark.parametrize("name", NAMES)
def test_every_property_is_described(name: str) -> None:
    for schema in subschemas(json.loads(schema_text(name))):
        for key, inner in schema.get("properties", {}).items():
            assert inner.get("description"), key


@pytest.mark.parametrize("name", NAMES)
def test_minimal_instance_is_accepted_by_engine_and_verifier(name: str) -> None:
    assert validator(name).is_valid(MINIMAL[name])
    assert accepts(name, MINIMAL[name])


@pytest.mark.parametrize("name", NAMES)
def test_largest_instance_is_accepted_by_engine_and_verifier(name: str) -> None:
    schema = json.loads(schema_text(name))
    instance = largest(schema, schema)
    assert validator(name).is_valid(instance)
    assert accepts(name, instance)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["unheard_of", "imports", "intent"])
def test_extra_and_missing_keys_are_refused_by_engine_and_verifier(name: str, key: str) -> None:
    instance = dict(MINIMAL[name])
    if key in instance:
        del instance[key]
    else:
        instance[key] = []
    assert not validator(name).is_valid(instance)
    assert not accepts(name, instance)


def test_largest_ir_fits_the_default_budget() -> None:
    schema = builtin_ir_schema()
    text = json.dumps(largest(schema, schema), separators=(",", ":"))
    assert len(text) / CHARACTERS_PER_TOKEN < 1800


def test_ir_with_every_part_is_accepted_by_engine_and_verifier() -> None:
    assert set(WHOLE_IR) == set(builtin_ir_schema()["properties"])
    assert list(validator("builtin").iter_errors(WHOLE_IR)) == []
    assert accepts("builtin", WHOLE_IR)


@pytest.mark.parametrize(
    "constraint",
    [
        {"type": "return", "severity": "fatal", "value": "x"},
        {"type": "return", "severity": "error", "over": "x", "stops": "all_items"},
        {"type": "until", "severity": "error", "value": "x"},
        {"severity": "error", "value": "x"},
    ],
)
def test_type_decides_the_kind_of_constraint(constraint: dict[str, str]) -> None:
    instance = WHOLE_IR | {"constraints": [constraint]}
    assert not validator("builtin").is_valid(instance)
    assert not accepts("builtin", instance)


def test_each_call_returns_a_fresh_schema() -> None:
    builtin_ir_schema()["required"].clear()
    assert builtin_ir_schema()["required"]
    assert json.loads(builtin_ir_schema_text()) == builtin_ir_schema()


@pytest.mark.parametrize("name", NAMES[1:])
def test_example_has_the_size_of_usual_schemas(name: str) -> None:
    assert 3 * 1024 <= len(schema_text(name).encode()) <= 6 * 1024
