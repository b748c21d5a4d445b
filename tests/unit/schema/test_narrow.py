from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genir_server.domain.types import Enforcement, Tightening
from genir_server.schema.grammar.guidance import compile_matcher, load_tokenizer
from genir_server.schema.grammar.minimal_instance import MinimalInstanceFinder
from genir_server.schema.grammar.oracle import GrammarOracle
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.narrow.narrow import narrow
from genir_server.schema.pipeline import Pipeline
from genir_server.schema.read.document import Document
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.relax import relax
from genir_server.schema.verify.verifier import SchemaVerifier
from tests.support import strategies

if TYPE_CHECKING:
    import ipaddress

ORACLE = GrammarOracle()
TOKENIZER = load_tokenizer(None)
BOUNDS = NarrowingBounds(string_characters=5, array_items=2, map_properties=2, integer_digits=4)


def accepts(schema: dict[str, object], text: str, bounds: NarrowingBounds = BOUNDS) -> bool:
    """Whether the narrowed schema lets the engine write a text."""
    relaxed = relax(Document(schema, Draft.DRAFT202012), ORACLE)
    narrowed = narrow(relaxed, bounds, ORACLE).schema
    return writes(narrowed, text)


def writes(schema: object, text: str) -> bool:
    """Whether the engine may write a text under a schema of its own."""
    matcher = compile_matcher(TOKENIZER, json.dumps(schema))
    assert not matcher.get_error()
    count = matcher.try_consume_tokens(list(text.encode()))
    return count == len(text.encode()) and bool(matcher.is_accepting())


@pytest.mark.parametrize(
    ("schema", "yes", "no"),
    [
        ({"type": "string"}, '"abcde"', '"abcdef"'),
        ({"type": "string", "pattern": "a+"}, '"aaaaa"', '"aaaaaa"'),
        ({"type": "integer"}, "9999", "10000"),
        ({"type": "number"}, "-1.5", "10000.5"),
        ({"type": "number", "minimum": 0}, "0.123456789", "0.1234567891"),
        ({"type": "array", "items": {"type": "null"}}, "[null,null]", "[null,null,null]"),
        ({"type": "object", "properties": {"a": {}}}, '{"a":1}', '{"b":1}'),
        ({"properties": {"a": {}}}, '{"a":[{}]}', "[]"),
        ({"minLength": 1}, '"a"', "1"),
        ({"type": "object"}, '{"a":1,"b":2}', '{"a":1,"b":2,"c":3}'),
        ({}, '{"a":[1]}', '{"a":[[1]]}'),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, '"abcde"', '"abcdef"'),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, '"abcde"', '"abcdef"'),
        ({"type": "array", "items": {}}, "[1,{}]", "[1,2,3]"),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"b": True}}}},
            '{"b":1}',
            '{"c":1}',
        ),
        (
            {"type": "object", "properties": {"a": True}, "required": ["b"]},
            '{"a":1,"b":[{}]}',
            '{"a":1,"b":1,"c":1}',
        ),
    ],
)
def test_unbounded_output_is_bounded(schema: dict[str, object], yes: str, no: str) -> None:
    assert accepts(schema, yes)
    assert not accepts(schema, no)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string", "maxLength": 9}, '"abcdefghi"'),
        ({"type": "string", "minLength": 7}, '"abcdefg"'),
        ({"type": "string", "pattern": "^[a-f]{6}$"}, '"abcdef"'),
        ({"type": "integer", "minimum": 20_000}, "20001"),
        ({"type": "array", "items": {"type": "null"}, "minItems": 4}, "[null,null,null,null]"),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": {}}, '{"b":1}'),
        ({"type": "object", "properties": {"a": {}}, "required": ["b"]}, '{"b":1}'),
        ({"type": "object", "allOf": [{"properties": {"a": {}}}], "properties": {"b": {}}},
         '{"a":1,"b":1}'),
        ({"const": "abcdefgh"}, '"abcdefgh"'),
        ({"type": "string", "format": "date-time"}, '"2026-01-02T03:04:05Z"'),
    ],
)  # fmt: skip
def test_requirements_of_the_schema_stay_possible(schema: dict[str, object], text: str) -> None:
    assert accepts(schema, text)


DEPENDENT = {f"t{number}": ["z"] for number in range(5)}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (
            {"properties": {"a": {"type": "string"}}, "required": ["b"], "minProperties": 3},
            {"a": "", "b": 1, "c": 1},
        ),
        (
            {"properties": {"a": False}, "required": ["b"], "minProperties": 2},
            {"b": 1, "c": 1},
        ),
        (
            {
                "properties": {"a": {"type": "null"}},
                "required": ["b"],
                "dependentRequired": {**DEPENDENT, "b": ["c"]},
            },
            {"a": None, "b": 1, "c": 1},
        ),
        (
            {
                "$ref": "#/$defs/m",
                "$defs": {
                    "m": {
                        "type": "object",
                        "properties": {"a": {"type": "null"}},
                        "required": ["a"],
                        "dependentRequired": {**DEPENDENT, "a": ["c"]},
                    }
                },
            },
            {"a": None, "c": 1},
        ),
    ],
)
def test_requirements_left_to_the_verifier_stay_possible(
    schema: dict[str, object], value: object
) -> None:
    whole = schema if "$ref" in schema else {"type": "object", **schema}
    assert SchemaVerifier(whole, Draft.DRAFT202012).is_valid(value)
    text = json.dumps(value, separators=(",", ":"))
    assert accepts(whole, text, NarrowingBounds(map_properties=5))


def test_every_narrowed_keyword_is_reported() -> None:
    schema: dict[str, object] = {"properties": {"a": {"type": "string"}, "b": {}}}
    relaxed = relax(Document(schema, Draft.DRAFT202012), ORACLE)
    notices = narrow(relaxed, BOUNDS, ORACLE).notices
    assert {notice.pointer for notice in notices} == {
        "/type",
        "/additionalProperties",
        "/properties/a/maxLength",
        "/properties/b",
    }
    assert {notice.enforcement for notice in notices} == {Enforcement.NARROWED}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("email", f"{'a' * 64}@b.c", f"{'a' * 65}@b.c"),
        ("email", f"a@{'b' * 63}.c", f"a@{'b' * 64}.c"),
        ("email", "a.b.c@d-e.org", "a..b@c.org"),
        ("email", "a@b--c.d", "a@bc--d.e"),
        ("hostname", ".".join(["a" * 60] * 4), ".".join(["a" * 60] * 5)),
        ("hostname", "a--b.a-b", "ab--c.a-b"),
        ("date", "2028-02-29", "2027-02-29"),
        ("date", "2000-02-29", "1900-02-29"),
        ("time", "23:59:60.5Z", "22:59:60.5Z"),
        ("time", "00:00:00+23:59", "00:00:00+24:00"),
        ("ipv6", "::ffff:1.2.3.4", "::ffff:1.2.3.256"),
        ("ipv6", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4"),
        ("ipv6", "1:2:3:4:5:6:7::", "1::2::3"),
        ("date-time", "2026-12-31T23:59:60z", "2026-12-31T23:58:60z"),
        ("date-time", "2026-04-30t01:02:03.000000001-01:30", "2026-04-31t01:02:03-01:30"),
    ],
)
def test_narrowed_format_ends_where_the_verifier_refuses(name: str, good: str, bad: str) -> None:
    schema: dict[str, object] = {"type": "string", "format": name}
    verifier = SchemaVerifier(schema, Draft.DRAFT202012)
    assert verifier.is_valid(good)
    assert not verifier.is_valid(bad)
    assert accepts(schema, json.dumps(good), NarrowingBounds())
    assert not accepts(schema, json.dumps(bad), NarrowingBounds())


@pytest.mark.parametrize("name", ["date", "time", "date-time", "email", "hostname", "ipv6"])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_narrowed_format_is_valid_for_the_verifier(name: str, data: st.DataObject) -> None:
    schema: dict[str, object] = {"type": "string", "format": name}
    relaxed = relax(Document(schema, Draft.DRAFT202012), ORACLE)
    narrowed = narrow(relaxed, NarrowingBounds(), ORACLE).schema
    assert isinstance(narrowed, dict)
    text = data.draw(st.from_regex(str(narrowed["pattern"]), fullmatch=True))
    # Python's `$` also matches before a final line break, unlike the engine's.
    if text.endswith("\n") or len(text) > int(str(narrowed.get("maxLength", 999))):
        return
    assert SchemaVerifier(schema, Draft.DRAFT202012).is_valid(text)


def test_pattern_of_the_caller_is_not_taken_for_a_format() -> None:
    for pattern in ("^.+@.+$", "^[A-Za-z0-9.-]{1,253}$"):
        relaxed = relax(Document({"type": "string", "pattern": pattern}, Draft.DRAFT202012), ORACLE)
        form = narrow(relaxed, NarrowingBounds(), ORACLE)
        narrowed, notices = form.schema, form.notices
        assert isinstance(narrowed, dict)
        assert isinstance(relaxed.schema, dict)
        assert narrowed["pattern"] == relaxed.schema["pattern"]
        assert "format" not in [notice.keyword for notice in notices]


def test_narrowed_format_is_not_reported_as_checked_beside_many_notices() -> None:
    properties: dict[str, object] = {f"p{index}": {"type": "string"} for index in range(150)}
    schema = {"type": "object", "properties": {**properties, "at": {"format": "date-time"}}}
    analysis = Pipeline(TOKENIZER, SchemaLimits(), NarrowingBounds()).analyse(json.dumps(schema))
    assert len(analysis.notices) == 100
    assert Enforcement.CHECKED_AFTER_DECODING not in {
        notice.enforcement for notice in analysis.notices
    }


SINGLE = NarrowingBounds(single_keys=True)


@pytest.mark.parametrize(
    ("schema", "once", "twice"),
    [
        ({"type": "object"}, '{"a":1}', '{"a":1,"a":1}'),
        ({"type": "object", "maxProperties": 3}, '{"a":1}', '{"a":1,"a":1}'),
        ({"type": "object", "maxProperties": 0}, "{}", '{"a":1}'),
        ({"type": "object", "minProperties": 1}, '{"a":1}', '{"a":1,"a":1}'),
        ({"type": "object", "additionalProperties": {"type": "null"}}, '{"a":null}', None),
        (
            {"type": "object", "properties": {"m": True}, "additionalProperties": {"type": "null"}},
            '{"m":1}',
            '{"m":1,"a":null,"a":null}',
        ),
        (
            {
                "type": "object",
                "patternProperties": {"^a": {"type": "null"}},
                "additionalProperties": False,
            },
            '{"a":null}',
            '{"a":null,"a":null}',
        ),
        ({"type": "array", "items": True}, '[{"a":[1]}]', '[{"a":1,"a":1}]'),
        (
            {"$defs": {"m": {"type": "object"}}, "anyOf": [{"$ref": "#/$defs/m"}]},
            '{"a":1}',
            '{"a":1,"a":1}',
        ),
    ],
)
def test_single_keys_rule_out_repeated_keys(
    schema: dict[str, object], once: str, twice: str | None
) -> None:
    assert accepts(schema, once, SINGLE)
    if twice is not None:
        assert accepts(schema, twice, NarrowingBounds()) or "maxProperties" in schema
        assert not accepts(schema, twice, SINGLE)


def test_single_keys_reach_the_engine_schema() -> None:
    schema = {
        "type": "object",
        "patternProperties": {"^[ab]$": {"type": "null"}},
        "additionalProperties": False,
    }
    engine_schemas = [
        json.loads(
            Pipeline(TOKENIZER, SchemaLimits(), bounds).analyse(json.dumps(schema)).engine_schema
        )
        for bounds in (NarrowingBounds(), SINGLE)
    ]
    assert [writes(each, '{"a":null,"a":null}') for each in engine_schemas] == [True, False]
    assert all(writes(each, '{"a":null}') for each in engine_schemas)


def test_single_keys_keep_requirements_possible() -> None:
    many: dict[str, object] = {"type": "object", "minProperties": 2}
    assert accepts(many, '{"a":1,"b":1}', SINGLE)
    required: dict[str, object] = {"type": "object", "required": ["x", "y"]}
    for rest in ({}, {"additionalProperties": {"type": "integer"}}, {"maxProperties": 2}):
        assert accepts({**required, **rest}, '{"x":1,"y":1}', SINGLE)
        assert not accepts({**required, **rest}, '{"x":1,"y":1,"y":1}', SINGLE)
    integers = {**required, "additionalProperties": {"type": "integer"}}
    assert not accepts(integers, '{"x":1,"y":"z"}', SINGLE)


def test_required_names_without_a_schema_share_one_definition() -> None:
    """The engine schema does not grow with the number of names to the power of the depth."""
    depth, names = 6, [f"n{index}" for index in range(20)]
    rest: object = {"type": "string", "maxLength": 77}
    for _ in range(depth):
        rest = {"type": "object", "required": names, "additionalProperties": rest}
    assert isinstance(rest, dict)
    narrowed = narrow(relax(Document(rest, Draft.DRAFT202012), ORACLE), SINGLE, ORACLE).schema
    text = json.dumps(narrowed)
    assert text.count("77") == 1
    assert len(text) < 10_000
    short = {**rest, "additionalProperties": {"type": "integer"}}
    ones = ",".join(f'"{name}":1' for name in names)
    assert accepts(short, f"{{{ones}}}", SINGLE)
    assert not accepts(short, f'{{{ones},"n0":1}}', SINGLE)
    assert not accepts(short, f"{{{ones.replace('1', 'true', 1)}}}", SINGLE)


COMPACT = NarrowingBounds().tightened(Tightening.COMPACT)


@pytest.mark.parametrize(
    ("schema", "yes", "no"),
    [
        ({"type": "string"}, f'"{"a" * 80}"', f'"{"a" * 81}"'),
        ({"type": "string", "maxLength": 500}, f'"{"a" * 80}"', f'"{"a" * 81}"'),
        ({"type": "string", "maxLength": 9}, f'"{"a" * 9}"', f'"{"a" * 10}"'),
        # Requirements of the schema stay possible.
        ({"type": "string", "minLength": 90, "maxLength": 500}, f'"{"a" * 180}"', f'"{"a" * 181}"'),
        ({"type": "string", "pattern": "^a{100}$"}, f'"{"a" * 100}"', f'"{"a" * 99}"'),
        (
            {"type": "string", "pattern": "^(aaa)+$", "maxLength": 100},
            f'"{"a" * 99}"',
            f'"{"a" * 102}"',
        ),
        (
            {"type": "array", "items": {"type": "null"}, "maxItems": 9},
            "[null]",
            "[null,null,null,null]",
        ),
        (
            {"type": "array", "items": {"type": "null"}, "minItems": 4, "maxItems": 9},
            f"[{','.join(['null'] * 8)}]",
            f"[{','.join(['null'] * 9)}]",
        ),
        (
            {"type": "array", "allOf": [{"contains": {"const": n}} for n in range(5)]},
            "[0,1,2,3,4]",
            f"[{','.join('0' * 25)}]",
        ),
        ({"type": "object", "maxProperties": 9}, '{"a":1}', '{"a":1,"b":1,"c":1,"d":1}'),
        (
            {"type": "object", "properties": {"a": {"type": "string", "maxLength": 500}}},
            f'{{"a":"{"a" * 80}"}}',
            f'{{"a":"{"a" * 81}"}}',
        ),
        ({}, "[1]", "[[1]]"),
        ({"type": "number"}, "0.123456789", "0.1234567891"),
        ({"type": "number", "minimum": -90, "maximum": 90}, "89.5", "-89.5"),
        ({"type": "number", "exclusiveMinimum": -1}, "0", "-0.5"),
        ({"type": "number", "maximum": -1}, "-1.5", "0"),
        ({"type": ["number", "null"]}, "1.5", "1.1234567891"),
        ({}, "1.5", "1.1234567891"),
        ({"type": "string", "pattern": "^[a-z]{100,}$"}, f'"{"a" * 100}"', f'"{"a" * 99}"'),
    ],
)
def test_compact_output_is_as_short_as_the_schema_allows(
    schema: dict[str, object], yes: str, no: str
) -> None:
    assert accepts(schema, yes, COMPACT)
    assert not accepts(schema, no, COMPACT)


def test_property_matched_by_a_recursive_pattern_is_bounded_by_the_pattern() -> None:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"basic": True},
        "patternProperties": {".*": {"anyOf": [{"$ref": "#"}, {"type": "string"}]}},
    }
    assert accepts(schema, '{"basic":{"a":"abcde"}}')
    assert not accepts(schema, '{"basic":{"a":"abcdef"}}')


def test_property_matched_by_no_pattern_is_bounded() -> None:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"a": {}},
        "patternProperties": {"^x-": {}},
    }
    for name in ("a", "x-a"):
        assert accepts(schema, f'{{"{name}":"abcde"}}')
        assert not accepts(schema, f'{{"{name}":"abcdef"}}')


def test_tighter_bounds_of_the_operator_are_kept() -> None:
    tight = NarrowingBounds(string_characters=5, array_items=2).tightened(Tightening.COMPACT)
    assert (tight.string_characters, tight.array_items) == (5, 2)


@pytest.mark.parametrize("tightening", [*Tightening, Tightening.SINGLE_KEYS | Tightening.COMPACT])
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=strategies.schemas)
def test_tightened_form_allows_only_what_the_relaxed_form_allows(
    tightening: Tightening, schema: dict[str, object] | bool
) -> None:
    relaxed = relax(Document(schema, Draft.DRAFT202012), ORACLE)
    if not isinstance(relaxed.schema, dict):
        return
    before = json.loads(json.dumps(relaxed.schema))
    narrowed = narrow(relaxed, NarrowingBounds().tightened(tightening), ORACLE).schema
    assert isinstance(narrowed, dict)
    if compile_matcher(TOKENIZER, json.dumps(narrowed)).get_error():
        return
    text = MinimalInstanceFinder(TOKENIZER).find(narrowed, lambda _: True)
    if text is not None and _keys(text) == _keys(json.dumps(json.loads(text))):
        assert SchemaVerifier(before, Draft.DRAFT202012).is_valid(json.loads(text))


def _keys(text: str) -> int:
    """How many keys a JSON text has; repeated keys count each time."""
    count = 0

    def counted(pairs: list[tuple[str, object]]) -> None:
        nonlocal count
        count += len(pairs)

    json.loads(text, object_pairs_hook=counted)
    return count


@given(address=st.ip_addresses(v=6), written=st.sampled_from(["compressed", "exploded"]))
def test_every_ipv6_address_stays_possible(address: ipaddress.IPv6Address, written: str) -> None:
    assert accepts({"type": "string", "format": "ipv6"}, json.dumps(getattr(address, written)))


@pytest.mark.parametrize(
    ("name", "unusual"),
    [
        ("time", "22:59:60-01:00"),
        ("time", f"12:00:00.{'1' * 12}Z"),
        ("date-time", "2026-12-31T15:59:60-08:00"),
        ("email", '"a b"@c.org'),
        ("email", "a@[IPv6:::1]"),
        ("email", "a.b.c.d.e@f.org"),
        ("email", "a@xn--fiqs8s.org"),
        ("hostname", "xn--fiqs8s.org"),
    ],
)
def test_unusual_forms_of_a_format_are_excluded_with_a_notice(name: str, unusual: str) -> None:
    schema: dict[str, object] = {"type": "string", "format": name}
    assert SchemaVerifier(schema, Draft.DRAFT202012).is_valid(unusual)
    assert not accepts(schema, json.dumps(unusual), NarrowingBounds())
    relaxed = relax(Document(schema, Draft.DRAFT202012), ORACLE)
    assert writes(relaxed.schema, json.dumps(unusual))
    assert [notice.enforcement for notice in relaxed.notices] == [
        Enforcement.CHECKED_AFTER_DECODING
    ]
    notices = narrow(relaxed, NarrowingBounds(), ORACLE).notices
    assert ("format", Enforcement.NARROWED) in [
        (notice.keyword, notice.enforcement) for notice in notices
    ]
