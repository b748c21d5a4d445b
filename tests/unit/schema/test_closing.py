"""Half-written values are ended: by the smallest text, and by anything under a closing schema."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from genir.schemas import builtin_ir_schema_text
from genir_server.domain.grammar_tokenizer import GrammarTokenizer
from genir_server.schema.closing.plan import plan_closing
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.grammar.guidance import byte_tokenizer, compile_matcher, load_tokenizer
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pipeline import Pipeline
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.types import WrittenText
from genir_server.schema.verify.verifier import SchemaVerifier
from tests.support import strategies
from tests.support.grammar_walks import random_text

if TYPE_CHECKING:
    from collections.abc import Callable

    import llguidance

    from genir_server.schema.types import ClosingPlan

EXAMPLES = Path(__file__).parents[3] / "examples" / "schemas"

TREE: dict[str, object] = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
EXPRESSION: dict[str, object] = {
    "$defs": {
        "expression": {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {"kind": {"const": "number"}, "value": {"type": "number"}},
                    "required": ["kind", "value"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "properties": {
                        "kind": {"enum": ["add", "multiply"]},
                        "left": {"$ref": "#/$defs/expression"},
                        "right": {"$ref": "#/$defs/expression"},
                    },
                    "required": ["kind", "left", "right"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "properties": {
                        "kind": {"const": "call"},
                        "name": {"type": "string", "pattern": "^[a-z_]{2,20}$"},
                        "arguments": {
                            "type": "array",
                            "items": {"$ref": "#/$defs/expression"},
                            "minItems": 1,
                        },
                    },
                    "required": ["kind", "name", "arguments"],
                    "additionalProperties": False,
                },
            ]
        }
    },
    "$ref": "#/$defs/expression",
}
# The member that tells the alternatives apart comes last.
LATE_TAG: dict[str, object] = {
    "type": "array",
    "items": {
        "anyOf": [
            {
                "type": "object",
                "properties": {"body": {"type": "object"}, "n": {"type": "integer"}, "kind": kind},
                "required": required,
                "additionalProperties": False,
            }
            for kind, required in (
                ({"const": "a"}, ["body", "n", "kind"]),
                ({"const": "b"}, ["body", "kind"]),
            )
        ]
    },
}
MIXED: dict[str, object] = {
    "type": "object",
    "properties": {
        "at": {"type": "string", "format": "date-time"},
        "id": {"type": "string", "format": "uuid"},
        "mail": {"type": "string", "format": "email"},
        "code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
        "name": {"type": "string", "minLength": 12, "maxLength": 80},
        "level": {"enum": ["low", "lower", "high", 1, 12, None, True]},
        "point": {"prefixItems": [{"type": "number"}, {"type": "string"}], "minItems": 2},
        "many": {"type": "array", "items": {"type": "integer", "minimum": 100}, "minItems": 5},
        "rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    },
    "required": ["at", "id", "mail", "code", "name", "level", "point", "many", "rate"],
    "additionalProperties": False,
}
MAPS: dict[str, object] = {
    "type": "object",
    "properties": {
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "ports": {
            "type": "object",
            "patternProperties": {"^p[0-9]$": {"type": "integer"}},
            "additionalProperties": False,
            "minProperties": 1,
        },
        "any": True,
        "some": {"type": "object", "properties": {"a": {"type": "array"}, "b": {"type": "string"}}},
    },
    "required": ["ports", "any"],
    "minProperties": 3,
}
COMBINED: dict[str, object] = {
    "allOf": [
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
            "required": ["a"],
        },
        {"type": "object", "properties": {"c": {"type": "boolean"}}, "required": ["c"]},
    ],
    "anyOf": [{"required": ["b"]}, {"properties": {"d": {"type": "null"}}, "required": ["d"]}],
}
CONDITION: dict[str, object] = {
    "type": "object",
    "properties": {"kind": {"enum": ["x", "y"]}, "x": {"type": "integer"}, "y": {"type": "array"}},
    "required": ["kind"],
    "if": {"properties": {"kind": {"const": "x"}}},
    "then": {"required": ["x"]},
    "else": {"required": ["y"]},
}
LITERAL: dict[str, object] = {
    "type": "object",
    "properties": {"v": {"enum": [{"a": [1, 2], "b": "x"}, {"a": [1, 3]}, [1, 2, 3], "abc"]}},
    "required": ["v"],
}
CATALOGUE: dict[str, dict[str, object]] = {
    "tree": TREE,
    "expression": EXPRESSION,
    "late tag": LATE_TAG,
    "mixed": MIXED,
    "maps": MAPS,
    "combined": COMBINED,
    "condition": CONDITION,
    "literal": LITERAL,
    "list": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
    "anything": {},
    "scalar": {"type": ["integer", "string", "null"]},
    "ir": json.loads(builtin_ir_schema_text()),
    **{path.stem: json.loads(path.read_text()) for path in sorted(EXAMPLES.glob("*.json"))},
}


def rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - repeatable, not secret.


def as_bytes(engine_schema: str, written: bytes) -> WrittenText:
    """A text whose tokens are its bytes."""
    return WrittenText(engine_schema, written.decode(errors="ignore"), list(written))


@dataclass(frozen=True)
class Subject:
    """A schema with everything that is made of it once."""

    engine_schema: str
    is_valid_for_engine: Callable[[object], bool]
    is_valid: Callable[[object], bool]

    def value(self, seed: int) -> bytes | None:
        """A random text that the engine may write."""
        matcher = compile_matcher(byte_tokenizer(), self.engine_schema)
        return random_text(matcher, rng(seed))

    def plan(self, written: bytes, max_tokens: int = 1 << 20) -> ClosingPlan | None:
        """The plan for a text whose tokens are its bytes."""
        return plan_closing(
            as_bytes(self.engine_schema, written),
            max_tokens,
            tokenizer=byte_tokenizer(),
            is_valid=self.is_valid,
            seconds=5.0,
        )

    def accepts(self, text: bytes) -> bool:
        """Whether the engine's grammar accepts a text as a whole."""
        matcher = compile_matcher(byte_tokenizer(), self.engine_schema)
        return bool(matcher.consume_tokens(list(text)) and matcher.is_accepting())


@cache
def pipeline() -> Pipeline:
    return Pipeline(byte_tokenizer(), SchemaLimits(), NarrowingBounds())


def subject_of(schema: object) -> Subject:
    text = json.dumps(schema)
    engine_schema = pipeline().analyse(text).engine_schema
    engine = jsonschema_rs.Draft202012Validator(json.loads(engine_schema), offline=True)
    verifier = SchemaVerifier(text, Draft.DRAFT202012)
    return Subject(engine_schema, engine.is_valid, verifier.is_valid)


@cache
def listed(name: str) -> Subject:
    return subject_of(CATALOGUE[name])


def check_plan(subject: Subject, written: bytes, plan: ClosingPlan, numbers: random.Random) -> None:
    text = written[: plan.kept_bytes] + plan.appended.encode()
    ended = text + plan.smallest.encode()
    assert subject.is_valid(json.loads(ended))
    assert subject.accepts(ended)
    if plan.closing_schema is None:
        return
    matcher = compile_matcher(byte_tokenizer(), plan.closing_schema)
    assert not matcher.is_error(), matcher.get_error()
    residual = plan.residual.encode()
    assert matcher.consume_tokens(list(residual))
    rest = random_text(matcher, numbers, residual)
    assert rest is not None
    value = json.loads(text + rest)
    assert subject.is_valid_for_engine(value), (written, text, rest)


@pytest.mark.parametrize("name", CATALOGUE)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 30), where=st.floats(0, 1))
def test_any_cut_of_a_value_is_ended(name: str, seed: int, where: float) -> None:
    subject = listed(name)
    whole = subject.value(seed)
    assume(whole is not None)
    assert whole is not None
    written = whole[: int(where * len(whole))]
    plan = subject.plan(written)
    assert plan is not None, written
    check_plan(subject, written, plan, rng(seed))


@pytest.mark.parametrize("name", ["tree", "expression", "ir", "mixed", "maps"])
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 30), spare=st.integers(0, 300))
def test_plan_keeps_the_budget(name: str, seed: int, spare: int) -> None:
    subject = listed(name)
    smallest = subject.plan(b"")
    whole = subject.value(seed)
    assume(whole is not None)
    assert whole is not None
    assert smallest is not None
    budget = smallest.total_tokens + spare
    plan = subject.plan(whole[:budget], budget)
    assert plan is not None
    assert plan.total_tokens <= budget
    assert len(whole[: plan.kept_bytes]) <= plan.used_tokens
    check_plan(subject, whole, plan, rng(seed))


def test_plan_keeps_nearly_as_much_as_fits() -> None:
    subject = subject_of({"type": "array", "items": {"enum": ["abc", "abd"]}, "maxItems": 999})
    written = b"[" + b'"abc",' * 500
    for budget in range(2_000, 2_040, 7):
        plan = subject.plan(written[:budget], budget)
        assert plan is not None
        assert plan.total_tokens <= budget
        # An item less would leave room for another one.
        assert plan.kept_bytes >= budget - 20
    plan = subject.plan(written[:2_995], 3_000)
    assert plan is not None
    assert plan.kept_bytes == 2_994
    assert plan.appended == "]"
    assert plan.closing_schema is None
    assert not plan.smallest
    assert plan.closed_early == ("",)


@cache
def joining_tokenizer() -> llguidance.LLTokenizer:
    """Single bytes, and some tokens across the borders of values and of characters."""
    single = {bytes([byte]): byte for byte in range(256)}
    joined = (b'"}', b'":', b'":"', b'",', b'","', b"ab", b'"ab', b"},", b"},{", b'"]', b"\x80\x9c")
    ranks = {**single, **{token: 256 + index for index, token in enumerate(joined)}}
    end = len(ranks)
    return load_tokenizer(
        GrammarTokenizer(
            ranks=ranks, special_tokens={"<end>": end}, pattern=r"[\s\S]+", end_token=end
        )
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    values=st.lists(
        st.dictionaries(
            st.sampled_from(["ab", "b", "“"]), st.text("ab“é😀", max_size=6), min_size=1
        ),
        max_size=8,
    ),
    cut=st.floats(0, 1),
    spare=st.integers(0, 8),
)
def test_tokens_of_a_model_are_counted(
    values: list[dict[str, str]], cut: float, spare: int
) -> None:
    subject = subject_of(
        {
            "type": "array",
            "items": {"type": "object", "additionalProperties": {"type": "string"}},
            "minItems": 1,
        }
    )
    tokenizer = joining_tokenizer()
    whole = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    tokens = tokenizer.tokenize_bytes(whole)
    tokens = tokens[: int(cut * len(tokens))]
    ends = [len(tokenizer.decode_bytes(tokens[: count + 1])) for count in range(len(tokens))]
    written = tokenizer.decode_bytes(tokens)
    budget = len(tokens) + spare
    plan = plan_closing(
        WrittenText(subject.engine_schema, written.decode(errors="ignore"), tokens),
        budget,
        tokenizer=tokenizer,
        is_valid=subject.is_valid,
        seconds=5.0,
    )
    if plan is None:
        assert budget < len(b"[{}]")
        return
    check_plan(subject, written, plan, rng(0))
    kept = sum(end <= plan.kept_bytes for end in ends)
    begun = written[ends[kept - 1] if kept else 0 : plan.kept_bytes] + plan.appended.encode()
    assert plan.used_tokens == kept + len(tokenizer.tokenize_bytes(begun))
    rest = tokenizer.tokenize_bytes(begun + plan.smallest.encode())
    assert plan.total_tokens == kept + len(rest)
    assert plan.total_tokens <= budget


def test_nothing_fits_in_too_small_a_budget() -> None:
    subject = listed("mixed")
    smallest = subject.plan(b"")
    assert smallest is not None
    assert subject.plan(b"", smallest.total_tokens - 1) is None


def test_search_stops_after_its_time() -> None:
    asked: list[object] = []

    def is_valid(value: object) -> bool:
        asked.append(value)
        return True

    plan = plan_closing(
        as_bytes(listed("ir").engine_schema, b'{"intent":{"summary":"half'),
        999,
        tokenizer=byte_tokenizer(),
        is_valid=is_valid,
        seconds=-1.0,
    )
    assert plan is None
    assert not asked


def test_end_has_no_key_twice() -> None:
    subject = subject_of({"type": "object", "additionalProperties": {"type": "integer"}})
    plan = subject.plan(b'{"a":1,"b":2,"a":3,"c":')
    assert plan is not None
    written = b'{"a":1,"b":2,"a":3,"c":'[: plan.kept_bytes].decode()
    whole = written + plan.appended + plan.smallest
    assert whole.count('"a"') == 1


def test_long_number_before_the_end_does_not_stop_the_search() -> None:
    engine_schema = json.dumps({"type": "array", "items": {"type": "integer"}})
    written = b"[7," + b"1" * 5_000 + b",2,"
    plan = plan_closing(
        as_bytes(engine_schema, written),
        9_000,
        tokenizer=byte_tokenizer(),
        is_valid=lambda value: isinstance(value, list),
        seconds=5.0,
    )
    assert plan is not None


def test_pointers_to_open_values_are_bounded() -> None:
    node: dict[str, object] = {
        "type": "object",
        "properties": {"/" * 900: {"$ref": "#/$defs/node"}},
        "additionalProperties": False,
    }
    subject = subject_of({"$defs": {"node": node}, "$ref": "#/$defs/node"})
    plan = subject.plan(('{"' + "/" * 900 + '":').encode() * 40)
    assert plan is not None
    assert sum(map(len, plan.closed_early)) <= 16_384


def test_text_that_tokens_do_not_spell_is_cut_at_whole_characters() -> None:
    subject = subject_of({"type": "array", "items": {"type": "string"}})
    text = '["e\u0301","\ufffd'
    plan = plan_closing(
        WrittenText(subject.engine_schema, text, [1, 2, 3]),
        1_000,
        tokenizer=byte_tokenizer(),
        is_valid=subject.is_valid,
        seconds=5.0,
    )
    assert plan is not None
    kept = text.encode()[: plan.kept_bytes].decode()
    assert json.loads(kept + plan.appended + plan.smallest)[0] == "e\u0301"


def test_string_ends_soon() -> None:
    subject = subject_of(
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "array"}, "c": {"type": "null"}},
            "required": ["a", "b", "c"],
        }
    )
    plan = subject.plan('{"a":"one “two'.encode())
    assert plan is not None
    assert plan.residual == '{"a":"'
    assert plan.smallest == '","b":[],"c":null}'
    assert plan.closed_early == ("", "/a")
    assert plan.closing_schema is not None
    text = json.loads(plan.closing_schema)["properties"]["a"]
    assert text == {"type": "string", "minLength": 0, "maxLength": 8}


def test_complete_members_decide_between_alternatives() -> None:
    plan = listed("late tag").plan(b'[{"body":{},"n":1,')
    assert plan is not None
    assert plan.smallest == '"kind":"a"}]'
    plan = listed("late tag").plan(b'[{"body":{}')
    assert plan is not None
    assert plan.smallest == '"kind":"b"}]'


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        ({"required": ["b"], "allOf": [{"required": ["a"]}]}, "ba"),
        ({"allOf": [{"required": ["a"]}], "required": ["b"]}, "ab"),
        (
            {"required": ["d", "c"], "allOf": [{"required": ["b"]}], "properties": {"c": True}},
            "cdb",
        ),
    ],
)
def test_members_come_in_the_order_of_the_engine(schema: dict[str, object], names: str) -> None:
    subject = subject_of({"type": "object", **schema})
    plan = subject.plan(b"")
    assert plan is not None
    assert "".join(json.loads(plan.smallest)) == names
    assert subject.accepts(plan.smallest.encode())


def test_schema_does_not_grow_with_what_is_complete() -> None:
    subject = listed("expression")
    item = b'{"kind":"call","name":"ab","arguments":[{"kind":"number","value":1}]}'
    plans = [
        subject.plan(b'{"kind":"call","name":"ab","arguments":[' + b",".join([item] * count))
        for count in (2, 20)
    ]
    few, many = plans
    assert few is not None
    assert many is not None
    assert few.appended == many.appended == "]}"
    begun = b',{"kind":"add","left":{"kind":"number","value":1}'
    sizes = set()
    for count in (2, 20):
        start = b'{"kind":"call","name":"ab","arguments":['
        plan = subject.plan(start + b",".join([item] * count) + begun)
        assert plan is not None
        assert plan.closing_schema is not None
        sizes.add((len(plan.closing_schema), plan.residual))
    assert len(sizes) == 1


@pytest.mark.parametrize("name", ["tree", "late tag", "maps", "list", "anything", "condition"])
def test_longest_walk_is_short(name: str) -> None:
    subject = listed(name)
    whole = next(filter(None, map(subject.value, range(20))))
    for cut in range(0, len(whole), 1 + len(whole) // 12):
        plan = subject.plan(whole[:cut])
        assert plan is not None
        if plan.closing_schema is None:
            continue
        matcher = compile_matcher(byte_tokenizer(), plan.closing_schema)
        residual = plan.residual.encode()
        matcher.consume_tokens(list(residual))
        rest = random_text(matcher, rng(cut), residual, patience=1 << 20)
        assert rest is not None
        assert len(rest) < 400


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.schemas, st.integers(0, 1 << 30), st.floats(0, 1))
def test_random_schemas(schema: dict[str, object] | bool, seed: int, where: float) -> None:
    try:
        subject = subject_of(schema)
    except SchemaRefusedError:
        return
    whole = subject.value(seed)
    if whole is None:
        return
    written = whole[: int(where * len(whole))]
    plan = subject.plan(written)
    if plan is not None:
        check_plan(subject, written, plan, rng(seed))
