"""Numbers that several parts of a schema describe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from genir_server.core.normalize import normal_form, parse_strict
from genir_server.domain.errors import Reason
from genir_server.domain.types import Enforcement
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.grammar.guidance import compile_matcher, load_tokenizer
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pipeline import Pipeline
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.verify.verifier import SchemaVerifier

if TYPE_CHECKING:
    from genir_server.schema.analysis import Analysis

TOKENIZER = load_tokenizer(None)
# A busy machine must not decide what the property finds.
LIMITS = SchemaLimits(compile_seconds=60, mask_seconds=60)
NARROWING = Pipeline(TOKENIZER, LIMITS, NarrowingBounds())
PLAIN = Pipeline(TOKENIZER, LIMITS, NarrowingBounds(enabled=False))
CHECKED = Enforcement.CHECKED_AFTER_DECODING
LARGE = "use a string"
MAX = 2**53 - 1


def writable(analysis: Analysis, texts: list[str]) -> list[str]:
    """The texts that the engine may write."""
    matcher = compile_matcher(TOKENIZER, analysis.engine_schema)
    assert not matcher.get_error()
    found = []
    for text in texts:
        copy = matcher.deep_copy()
        count = copy.try_consume_tokens(list(text.encode()))
        if count == len(text.encode()) and copy.is_accepting():
            found.append(text)
    return found


def is_checked(analysis: Analysis) -> bool:
    return any(notice.enforcement is CHECKED for notice in analysis.notices)


@pytest.mark.parametrize(
    ("schema", "texts"),
    [
        ('{"type":"number","not":{"multipleOf":7}}', ["8", "0.5", "-3"]),
        ('{"type":"integer","not":{"anyOf":[{"multipleOf":7},{"multipleOf":5}]}}', ["8", "-3"]),
        ('{"type":"integer","oneOf":[{"multipleOf":7},{"multipleOf":5}]}', ["7", "5", "-5"]),
        ('{"type":"integer","if":{"multipleOf":7},"then":{"minimum":5}}', ["8", "7", "-3"]),
        ('{"type":"array","items":{"type":"integer"},"contains":{"multipleOf":7}}', ["[7,3]"]),
        (
            (
                '{"properties":{"a":{"anyOf":[{"multipleOf":7},{"maximum":3}]},"b":{"type":"integer"},'
                '"c":{"type":"number"}},"type":"object","required":["a","b","c"]}'
            ),
            ['{"a":7,"b":8,"c":0.5}', '{"a":1,"b":-8,"c":-0.5}'],
        ),
        ('{"type":"string","not":{"format":"date-time"}}', ['"abc"']),
    ],
)
def test_what_one_part_leaves_out_binds_no_other_part(schema: str, texts: list[str]) -> None:
    assert writable(NARROWING.analyse(schema), texts) == texts


@pytest.mark.parametrize(
    ("schema", "reason", "pointer", "words"),
    [
        (
            '{"type":"number","not":{"minimum":-9007199254740991}}',
            Reason.SCHEMA_UNSUPPORTED,
            "",
            LARGE,
        ),
        (
            (
                '{"type":"object","properties":{"n":{"type":"integer","not":{"maximum":1e16}}},'
                '"required":["n"]}'
            ),
            Reason.SCHEMA_UNSUPPORTED,
            "/properties/n",
            LARGE,
        ),
        ('{"type":"number","not":{"maximum":1e21}}', Reason.SCHEMA_UNSUPPORTED, "", LARGE),
        (
            (
                '{"minimum":9.99,"multipleOf":2,"type":"number",'
                '"allOf":[{"exclusiveMinimum":9007199254740990}]}'
            ),
            Reason.SCHEMA_UNSUPPORTED,
            "/allOf/0/exclusiveMinimum",
            LARGE,
        ),
        (
            '{"type":"integer","allOf":[{"exclusiveMinimum":1},{"exclusiveMaximum":2}]}',
            Reason.SCHEMA_INVALID,
            "/allOf/0/exclusiveMinimum",
            "no integer is between the bounds",
        ),
        (
            '{"type":"integer","allOf":[{"minimum":0.1},{"maximum":0.9}]}',
            Reason.SCHEMA_INVALID,
            "/allOf/0/minimum",
            "no integer is between the bounds",
        ),
        (
            '{"$ref":"#/$defs/a","maximum":4,"$defs":{"a":{"type":"number","minimum":5}}}',
            Reason.SCHEMA_INVALID,
            "/$defs/a/minimum",
            "no number is between the bounds",
        ),
        (
            '{"type":"integer","anyOf":[{"minimum":0.1,"maximum":0.2},{"minimum":3.1,"maximum":3.2}]}',
            Reason.SCHEMA_INVALID,
            "/anyOf/0/minimum",
            "no integer is between the bounds",
        ),
        (
            '{"allOf":[{"type":"integer"},{"enum":[0.5,1.5]}]}',
            Reason.SCHEMA_INVALID,
            "/allOf/1/enum",
            "enum leaves no type that the other keywords allow",
        ),
        (
            '{"type":"integer","multipleOf":5,"allOf":[{"minimum":1},{"maximum":4}]}',
            Reason.SCHEMA_INVALID,
            "/allOf/0/minimum",
            "no multiple is between the bounds",
        ),
    ],
)
def test_parts_that_leave_no_number_are_refused_in_plain_words(
    schema: str, reason: Reason, pointer: str, words: str
) -> None:
    with pytest.raises(SchemaRefusedError) as caught:
        NARROWING.analyse(schema)
    assert caught.value.reason is reason
    assert caught.value.metadata["pointer"] == pointer
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("schema", "yes", "no"),
    [
        (
            '{"type":"number","exclusiveMinimum":1,"allOf":[{"exclusiveMaximum":1.5}]}',
            ["1.2"],
            ["1", "1.0", "1.5"],
        ),
        (
            '{"type":"number","exclusiveMaximum":-1,"allOf":[{"exclusiveMinimum":-1.5}]}',
            ["-1.2"],
            ["-1", "-1.5"],
        ),
        (
            '{"type":"number","exclusiveMinimum":1,"anyOf":[{"exclusiveMaximum":1.5}]}',
            ["1.2"],
            ["1.5", "2"],
        ),
        (
            '{"type":"integer","anyOf":[{"minimum":1},{"minimum":0.1,"maximum":0.9}]}',
            ["1", "2"],
            ["0"],
        ),
        (
            '{"type":"integer","anyOf":[{"minimum":0.5,"maximum":1.5},{"minimum":3.5}]}',
            ["1", "4"],
            ["2", "0"],
        ),
        ('{"allOf":[{"type":"integer"},{"enum":[0.5,1,1e21]}]}', ["1", "1" + "0" * 21], ["0"]),
        ('{"allOf":[{"type":"integer"},{"const":1e21}]}', ["1" + "0" * 21], [str(2**63 - 1)]),
        (
            '{"$ref":"#/$defs/i","const":1e21,"$defs":{"i":{"type":"integer"}}}',
            ["1" + "0" * 21],
            [str(2**63 - 1)],
        ),
        ('{"enum":[0.5,1,7],"anyOf":[{"type":"integer"},{"minimum":3}]}', ["1", "7"], ["0.5"]),
        ('{"multipleOf":0.1,"allOf":[{"enum":[0.3,0.35]}]}', ["0.3"], ["0.35"]),
        (
            '{"type":"integer","multipleOf":2,"allOf":[{"multipleOf":3},{"minimum":1}]}',
            ["6", "12"],
            ["2", "3"],
        ),
        (
            (
                '{"type":"object","properties":{"a":{"$ref":"#/$defs/n","maximum":5},'
                '"b":{"$ref":"#/$defs/n"}},"required":["a","b"],'
                '"$defs":{"n":{"type":"integer","anyOf":[{"minimum":0.5},{"const":-7}]}}}'
            ),
            ['{"a":5,"b":6}', '{"a":-7,"b":-7}'],
            ['{"a":6,"b":6}', '{"a":0,"b":1}'],
        ),
    ],
)
@pytest.mark.parametrize("pipeline", [NARROWING, PLAIN])
def test_several_parts_are_enforced_together(
    schema: str, yes: list[str], no: list[str], pipeline: Pipeline
) -> None:
    analysis = pipeline.analyse(schema)
    assert writable(analysis, yes) == yes
    if not is_checked(analysis):
        assert writable(analysis, no) == []
    else:
        assert pipeline is PLAIN or "anyOf" in schema


KEYWORDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
BOUND_VALUES = st.sampled_from(
    [0, 1, -1, 2, 5, -3, 0.5, -0.5, 1.5, -1.5, 0.1, 9.99, 2.0, 1e-7, 1e16, -1e16, MAX, -MAX, 1e21]
)
TYPES = st.sampled_from(["number", "integer", ["integer", "null"], ["number", "string"]])
CANDIDATES = [
    *map(str, [0, 1, -1, 2, 3, -3, 4, 5, 6, 7, 10, 14, 35, 49, 100, -7, MAX, -MAX, MAX - 1]),
    *map(str, [0.5, -0.5, 1.5, -1.5, 0.1, 0.25, 1.2, 9.99, 2.5, 0.3, -0.25, 1.25]),
    *("null", '"a"'),
]


@st.composite
def facts(draw: st.DrawFn) -> dict[str, object]:
    """Keywords about numbers for one part."""
    part: dict[str, object] = {}
    for keyword in draw(st.sets(st.sampled_from(KEYWORDS), max_size=2)):
        part[keyword] = draw(BOUND_VALUES)
    if draw(st.integers(0, 3)) == 0:
        part["multipleOf"] = draw(st.sampled_from([1, 2, 5, 7, 0.5, 0.1]))
    if draw(st.integers(0, 2)) == 0:
        part["type"] = draw(TYPES)
    if draw(st.integers(0, 7)) == 0:
        part["enum"] = draw(st.lists(BOUND_VALUES, min_size=1, max_size=4))
    return part


@st.composite
def combined(draw: st.DrawFn) -> str:
    """JSON text of a schema of numbers that several parts describe."""
    part = draw(facts())
    if "enum" not in part:
        part.setdefault("type", draw(TYPES))
    for keyword in draw(
        st.sets(st.sampled_from(["allOf", "anyOf", "oneOf", "not", "if", "$ref"]), max_size=2)
    ):
        if keyword == "not":
            part["not"] = draw(facts())
        elif keyword == "if":
            part |= {"if": draw(facts()), "then": draw(facts()), "else": draw(facts())}
        elif keyword == "$ref":
            part |= {"$ref": "#/$defs/n", "$defs": {"n": draw(facts())}}
        else:
            part[keyword] = draw(st.lists(facts(), min_size=1, max_size=3))
    if draw(st.booleans()):
        return json.dumps(part)
    definitions = part.pop("$defs", {})
    properties = {"a": part, "b": draw(facts())}
    whole = {"type": "object", "properties": properties, "required": ["a"]}
    return json.dumps({**whole, "$defs": definitions})


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(combined(), st.sampled_from([NARROWING, PLAIN]))
@example('{"multipleOf":1,"type":"number","if":{"enum":[1e16]},"else":{"multipleOf":2}}', NARROWING)
@example('{"enum":[1],"if":{"enum":[0]},"then":{"enum":[0]},"else":{"multipleOf":2}}', NARROWING)
def test_valid_numbers_stay_writable_and_exact_is_exact(text: str, pipeline: Pipeline) -> None:
    candidates = [*CANDIDATES, *(f'{{"a":{value}}}' for value in CANDIDATES)]
    draft = Draft.DRAFT202012
    try:
        analysis = pipeline.analyse(text)
    except SchemaRefusedError as refusal:
        assume(refusal.reason is not Reason.SCHEMA_TOO_COMPLEX)
        analysis = None
    verifier = SchemaVerifier(text, draft)
    if analysis is None:
        assert not [value for value in candidates if verifier.is_valid(parse_strict(value))]
        return
    written = writable(analysis, candidates)
    narrowed = any(notice.enforcement is Enforcement.NARROWED for notice in analysis.notices)
    for value in candidates:
        if verifier.is_valid(parse_strict(normal_form(value))):
            assert value in written or (narrowed and pipeline is NARROWING), value
        elif not is_checked(analysis):
            assert value not in written, value
