"""Schemas that make engines compile for minutes or crash. Each must be answered soon."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from genir_server.domain.errors import GenirError, Reason
from genir_server.schema.limits import SchemaLimits
from genir_server.schema.preparer import Preparer

if TYPE_CHECKING:
    from collections.abc import Mapping

# Generous for a busy machine: without limits these take minutes.
MAX_SECONDS = 30.0
LIMITS: dict[str, Any] = asdict(SchemaLimits())


def chain(length: int) -> dict[str, object]:
    definitions: dict[str, object] = {
        f"d{index}": {"$ref": f"#/$defs/d{index + 1}"} for index in range(length)
    }
    definitions[f"d{length}"] = {"type": "string"}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


def laughs(depth: int) -> dict[str, object]:
    definitions: dict[str, object] = {
        f"d{index}": {"allOf": [{"$ref": f"#/$defs/d{index + 1}"}] * 2} for index in range(depth)
    }
    definitions[f"d{depth}"] = {"type": "string"}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


# Schema, limit that it exceeds, pointer and value.
TOO_COMPLEX: dict[str, tuple[object, str, str, int]] = {
    "a chain of references": (chain(1_100), "reference_depth", "/$defs/d128", 129),
    "a large divisor": ({"multipleOf": 9_999_991}, "multiple_of", "", 9_999_991),
    "a large fraction": ({"multipleOf": 0.9999991}, "multiple_of", "", 9_999_991),
    "divisors that meet": (
        {"allOf": [{"multipleOf": number} for number in (7, 11, 13, 17, 19, 23)]},
        "multiple_of",
        "",
        17_017,
    ),
    "divisors that meet through references": (
        {
            "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}, {"multipleOf": 101}],
            "$defs": {"a": {"multipleOf": 103}, "b": {"multipleOf": 107}},
        },
        "multiple_of",
        "",
        11_021,
    ),
    "a large repetition": (
        {"type": "string", "pattern": "^a{100000}$"},
        "quantifier",
        "/pattern",
        100_000,
    ),
    "nested repetitions": (
        {"type": "string", "pattern": "^((a{50}){50}){50}$"},
        "quantifier",
        "/pattern",
        125_000,
    ),
    "a repeated alternative": (
        {"pattern": "^(ab|c{900}){900}$"},
        "quantifier",
        "/pattern",
        810_000,
    ),
    "a repetition in a name": (
        {"patternProperties": {"^x{60000}$": {"type": "string"}}},
        "quantifier",
        "/patternProperties/^x{60000}$",
        60_000,
    ),
    "a long constant": ({"const": "a" * 100_000}, "string_bytes", "/const", 100_000),
    "a long constant inside": (
        {"enum": [{"a": ["b" * 100_000]}]},
        "string_bytes",
        "/enum",
        100_000,
    ),
    "a long name": ({"properties": {"k" * 100_000: True}}, "key_bytes", "/properties", 100_000),
    "a long name in unicode": (
        {"properties": {"ж" * 600: True}},
        "key_bytes",
        "/properties",
        1_200,
    ),
    "a long required name": ({"required": ["k" * 100_000]}, "key_bytes", "/required", 100_000),
    **{
        f"a long name in {keyword} {index}": ({keyword: value}, "key_bytes", f"/{keyword}", 100_000)
        for index, (keyword, value) in enumerate(
            (
                ("dependencies", {"k" * 100_000: True}),
                ("dependencies", {"a": ["k" * 100_000]}),
                ("dependentSchemas", {"k" * 100_000: True}),
                ("dependentRequired", {"k" * 100_000: []}),
            )
        )
    },
    "a long name that another requires": (
        {"dependentRequired": {"a": ["k" * 100_000]}},
        "key_bytes",
        "/dependentRequired",
        100_000,
    ),
    "many names that another requires": (
        {"dependentRequired": {"a": [f"k{index}" for index in range(100_000)]}},
        "enum_values",
        "/dependentRequired",
        100_000,
    ),
    "a long expression": ({"pattern": "abc" * 60_000}, "pattern_bytes", "/pattern", 180_000),
    "many patterns": (
        {"patternProperties": {f"^{index:04}$": True for index in range(400)}},
        "pattern_properties",
        "/patternProperties",
        400,
    ),
    "many optional properties": (
        {"type": "object", "properties": {f"p{index}": True for index in range(10_000)}},
        "optional_properties",
        "/properties",
        10_000,
    ),
    "many alternatives": (
        {"anyOf": [{"const": index} for index in range(5_000)]},
        "alternatives",
        "/anyOf",
        5_000,
    ),
    "many exclusive alternatives": (
        {"oneOf": [{"const": index} for index in range(3_000)]},
        "alternatives",
        "/oneOf",
        3_000,
    ),
    "many values": ({"enum": list(range(20_000))}, "enum_values", "/enum", 20_000),
    "many items": ({"type": "array", "minItems": 1_000_000}, "min_items", "/minItems", 1_000_000),
    "laughs": (laughs(30), "evaluations", "/$defs/d15", 131_069),
    "a wide text": ({"description": "d" * (2 << 20)}, "schema_bytes", "", 2_097_171),
}


@pytest.mark.parametrize("name", TOO_COMPLEX)
async def test_schema_beyond_a_limit_is_refused_with_limit_and_pointer(
    preparer: Preparer, name: str
) -> None:
    schema, limit, pointer, value = TOO_COMPLEX[name]
    start = time.monotonic()
    with pytest.raises(GenirError) as caught:
        await preparer.prepare(json.dumps(schema))
    assert caught.value.reason is Reason.SCHEMA_TOO_COMPLEX
    assert caught.value.metadata == {
        "pointer": pointer,
        "limit": limit,
        "max": str(LIMITS[limit]),
        "value": str(value),
    }
    assert limit in caught.value.message
    assert time.monotonic() - start < MAX_SECONDS


@pytest.mark.parametrize("depth", [101, 1_000, 100_000])
async def test_deep_nesting_is_refused_with_the_pointer_of_the_first_level_too_deep(
    preparer: Preparer, depth: int
) -> None:
    text = '{"not":' * depth + "{}" + "}" * depth
    with pytest.raises(GenirError) as caught:
        await preparer.prepare(text)
    assert caught.value.metadata == {
        "pointer": "/not" * 100,
        "limit": "nesting",
        "max": "100",
        "value": str(depth + 1),
    }


@pytest.mark.parametrize("shorter", [{"schema_bytes": 40}, {"nodes": 3}])
async def test_limits_of_the_whole_document_are_reported_for_the_root(
    shorter: Mapping[str, int],
) -> None:
    ((limit, max_value),) = shorter.items()
    subject = Preparer(None, SchemaLimits(**{**LIMITS, **shorter}))
    await subject.start()
    text = json.dumps({"anyOf": [{"type": "null"}, {"type": "boolean"}, True]})
    with pytest.raises(GenirError) as caught:
        await subject.prepare(text)
    await subject.close()
    value = {"schema_bytes": len(text), "nodes": 4}[limit]
    assert caught.value.metadata == {
        "pointer": "",
        "limit": limit,
        "max": str(max_value),
        "value": str(value),
    }


@pytest.mark.parametrize("limit", ["compile_seconds", "mask_seconds"])
async def test_time_limits_are_reported_for_the_root(limit: str) -> None:
    subject = Preparer(None, SchemaLimits(**{**LIMITS, limit: 1e-9}))
    await subject.start()
    with pytest.raises(GenirError) as caught:
        await subject.prepare('{"type": "integer"}')
    await subject.close()
    metadata = dict(caught.value.metadata)
    assert float(metadata.pop("value")) > 1e-9
    assert metadata == {"pointer": "", "limit": limit, "max": "1e-09"}


HARMLESS: dict[str, object] = {
    "nested stars": {"type": "string", "pattern": "^(a|aa)+$"},
    "overlapping stars": {"type": "string", "pattern": "^(x+x+)+y$"},
    "huge lengths": {"type": "string", "minLength": 0, "maxLength": 1_000_000_000},
    "huge maximum of items": {"type": "array", "items": {"type": "null"}, "maxItems": 10**9},
    "many values": {"enum": [f"value {index}" for index in range(9_000)]},
    "a long description": {"type": "string", "description": "d" * 900_000},
    "unicode names": {"properties": {"\u0000": True, "🙂": True, "a/b~c": True, "": True}},
    "huge numbers": {"type": "number", "minimum": -1e308, "maximum": 1e308},
    "huge integers": {"type": "integer", "minimum": -(10**300), "maximum": 10**300},
    "a tree": {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}},
    "an anchor in a loop": {
        "$anchor": "top",
        "properties": {"next": {"$ref": "#top"}},
    },
    "the engine's own options": {
        "x-guidance": {"key_separator": "=>", "lenient": True},
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
    },
    "chains within the limit": chain(100),
}


@pytest.mark.parametrize("name", HARMLESS)
async def test_harmless_schema_is_accepted(preparer: Preparer, name: str) -> None:
    text = json.dumps(HARMLESS[name])
    start = time.monotonic()
    prepared = await preparer.prepare(text)
    assert time.monotonic() - start < MAX_SECONDS
    assert "x-guidance" not in prepared.engine_schema
    assert "x-guidance" not in prepared.shown_full


async def test_event_loop_is_not_blocked(preparer: Preparer) -> None:
    """Other tasks keep running while the worst schemas are refused."""
    gaps: list[float] = []
    done = asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            start = time.monotonic()
            await asyncio.sleep(0)
            gaps.append(time.monotonic() - start)
            await asyncio.sleep(0.002)

    watcher = asyncio.create_task(watch())
    texts = [json.dumps({"title": "free", **schema}) for schema, *_ in TOO_COMPLEX.values()]  # type: ignore[dict-item]
    results = await asyncio.gather(
        *(preparer.prepare(text) for text in texts), return_exceptions=True
    )
    done.set()
    await watcher
    assert all(isinstance(result, GenirError) for result in results)
    assert max(gaps) < 1.0
