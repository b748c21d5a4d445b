"""Numbers that no answer can hold are known before the model writes anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from genir_server.core.normalize import normal_form, parse_strict
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import Enforcement
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.grammar.guidance import compile_matcher, load_tokenizer
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pipeline import Pipeline
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.verify.verifier import SchemaVerifier

if TYPE_CHECKING:
    from genir_server.schema.analysis import Analysis
    from genir_server.schema.preparer import Preparer

TOKENIZER = load_tokenizer(None)
# A busy machine must not decide what the property finds.
LIMITS = SchemaLimits(compile_seconds=60, mask_seconds=60)
PIPELINE = Pipeline(TOKENIZER, LIMITS, NarrowingBounds())
MAX = 2**53 - 1
CHECKED = Enforcement.CHECKED_AFTER_DECODING
DRAFT4 = '{"$schema":"http://json-schema.org/draft-04/schema#",%s}'
OBJECT = '{"type":"object","properties":{"ns":%s},"required":["ns"]}'


def analyse(text: str) -> Analysis:
    return PIPELINE.analyse(text)


def writes(engine_schema: str, text: str) -> bool:
    matcher = compile_matcher(TOKENIZER, engine_schema)
    assert not matcher.get_error()
    count = matcher.try_consume_tokens(list(text.encode()))
    return count == len(text.encode()) and bool(matcher.is_accepting())


async def refusal(preparer: Preparer, text: str) -> GenirError:
    with pytest.raises(GenirError) as caught:
        await preparer.prepare(text)
    return caught.value


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ('{"const":9007199254740992}', "/const"),
        ('{"const":-9007199254740992}', "/const"),
        ('{"const":9007199254740992.0}', "/const"),
        ('{"const":18446744073709551615}', "/const"),
        ('{"const":1e20}', "/const"),
        ('{"const":123456789012345678901234}', "/const"),
        ('{"const":[1,{"a":9007199254740993}]}', "/const"),
        ('{"enum":[18446744073709551615,9223372036854775807]}', "/enum"),
        ('{"type":"integer","minimum":9007199254740992}', "/minimum"),
        ('{"type":"integer","exclusiveMinimum":9007199254740991}', "/exclusiveMinimum"),
        ('{"type":"integer","maximum":-1e20}', "/maximum"),
        ('{"type":"number","minimum":1e18,"maximum":1e20}', "/minimum"),
        ('{"type":"number","minimum":1e300}', "/minimum"),
        (
            DRAFT4 % '"type":"integer","minimum":9007199254740991,"exclusiveMinimum":true',
            "/minimum",
        ),
        (
            OBJECT % '{"type":"integer","minimum":1600000000000000000}',
            "/properties/ns/minimum",
        ),
        (
            '{"$ref":"#/$defs/id","$defs":{"id":{"enum":[1234567890123456789]}}}',
            "/$defs/id/enum",
        ),
        ('{"type":"array","items":{"const":1e20},"minItems":1}', "/items/const"),
    ],
)
async def test_schema_of_unanswerable_numbers_is_refused(
    preparer: Preparer, schema: str, pointer: str
) -> None:
    error = await refusal(preparer, schema)
    assert error.reason is Reason.SCHEMA_UNSUPPORTED
    assert error.metadata["pointer"] == pointer
    assert "use a string" in error.message


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ('{"type":"integer","minimum":0.5,"maximum":0.7}', "/minimum"),
        ('{"type":"integer","exclusiveMinimum":1,"exclusiveMaximum":2}', "/exclusiveMinimum"),
        ('{"type":"integer","minimum":-0.9,"maximum":-0.1}', "/maximum"),
        ('{"type":"number","minimum":1,"maximum":2,"multipleOf":5}', "/minimum"),
        ('{"type":"number","exclusiveMinimum":1.7976931348623157e308,"maximum":0}', None),
        ('{"type":"number","minimum":0,"maximum":-1e-300}', "/maximum"),
        ('{"type":"number","exclusiveMinimum":0,"exclusiveMaximum":3,"multipleOf":3}', None),
    ],
)
async def test_bounds_without_a_number_are_invalid(
    preparer: Preparer, schema: str, pointer: str | None
) -> None:
    error = await refusal(preparer, schema)
    assert error.reason is Reason.SCHEMA_INVALID
    assert pointer is None or error.metadata["pointer"] == pointer


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("1e-400", "1e-400"),
        ("-0.00001e-320", "-0.00001e-320"),
        ("0.1000000000000000055511151231257827", "write 0.1."),
        ("0.30000000000000001", "write 0.3."),
        ("12345678901234567.5", "write 1.2345678901234568e+16."),
        ("1.234e-322", "write 1.24e-322."),
    ],
)
@pytest.mark.parametrize("keyword", ["const", "minimum", "default"])
async def test_number_that_a_double_changes_is_refused(
    preparer: Preparer, keyword: str, number: str, shown: str
) -> None:
    error = await refusal(preparer, f'{{"{keyword}":{number}}}')
    assert error.reason is Reason.SCHEMA_INVALID
    assert shown in error.message


@pytest.mark.parametrize(
    ("literal", "form"),
    [
        ("1e21", "1e+21"),
        ("1E+22", "1e+22"),
        ("-1e25", "-1e+25"),
        ("1000000000000000000000", "1e+21"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("5e-324", "5e-324"),
        ("1e-7", "1e-7"),
        ("9007199254740991", "9007199254740991"),
        ("-0.0", "0"),
        ("5.0", "5"),
    ],
)
@pytest.mark.parametrize("keyword", ["const", "enum"])
async def test_answerable_literal_can_be_written(
    preparer: Preparer, keyword: str, literal: str, form: str
) -> None:
    value = f"[{literal}]" if keyword == "enum" else literal
    prepared = await preparer.prepare(f'{{"{keyword}":{value}}}')
    assert prepared.notices == ()
    assert prepared.minimal_instance is not None
    assert writes(prepared.engine_schema, prepared.minimal_instance)
    assert normal_form(prepared.minimal_instance) == form
    assert prepared.verifier is not None
    assert prepared.verifier.is_valid(parse_strict(form))


async def test_constant_that_the_engine_reads_as_another_is_refused(preparer: Preparer) -> None:
    error = await refusal(preparer, '{"const":1.700144249844807e38}')
    assert error.reason is Reason.SCHEMA_UNSUPPORTED
    assert "15 digits" in error.message
    prepared = await preparer.prepare('{"enum":[1.700144249844807e38,1.7e38]}')
    assert json.loads(prepared.engine_schema) == {"enum": [1.7e38]}


async def test_unanswerable_values_of_an_enum_are_left_out(preparer: Preparer) -> None:
    prepared = await preparer.prepare('{"enum":[1.7976931348623157e308,9007199254740993,5,"a"]}')
    assert json.loads(prepared.engine_schema) == {"enum": [1.7976931348623157e308, 5, "a"]}
    (notice,) = prepared.notices
    assert (notice.enforcement, notice.pointer) == (Enforcement.NARROWED, "/enum")
    assert notice.detail.startswith("without 1 of 4 values")


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ('{"anyOf":[{"const":1e20},{"const":"a"}]}', '"a"'),
        ('{"oneOf":[{"type":"integer","minimum":1e16},{"type":"string"}]}', '""'),
        ('{"type":"object","properties":{"x":{"const":9007199254740993}}}', "{}"),
        ('{"minimum":9007199254740993}', "null"),
        ('{"type":["integer","null"],"minimum":1e300}', "null"),
        ('{"type":"integer","not":{"const":1e20}}', "0"),
        ('{"type":"number","not":{"enum":[1e21,5]}}', "0"),
        ('{"type":"integer","not":{"minimum":1e20}}', "0"),
    ],
)
async def test_other_values_remain(preparer: Preparer, schema: str, instance: str) -> None:
    prepared = await preparer.prepare(schema)
    assert prepared.minimal_instance == instance


@pytest.mark.parametrize(
    ("bounds", "yes", "no"),
    [
        ('"minimum":9007199254740991', ["9007199254740991"], ["9007199254740992"]),
        ('"minimum":9007199254740000', ["9007199254740991"], ["9007199254740992", "1" * 40]),
        ('"maximum":-9007199254740991', ["-9007199254740991"], ["-9007199254740992"]),
        ('"minimum":0,"maximum":9007199254740991', ["9007199254740991", "0"], ["-1"]),
        ('"minimum":0,"maximum":1e32', ["0", "999999999999999"], ["9007199254740992"]),
        ('"minimum":0,"maximum":18446744073709551615', ["5"], ["9007199254740992"]),
        (
            '"minimum":-9223372036854775808,"maximum":9223372036854775807',
            ["-3"],
            ["9007199254740992", "-9007199254740992"],
        ),
        ('"maximum":1.7976931348623157e308', ["-5"], ["9007199254740992"]),
        ('"exclusiveMinimum":9007199254740990.0', ["9007199254740991"], ["9007199254740990"]),
    ],
)
@pytest.mark.parametrize("name", ["integer", "number"])
async def test_numbers_end_where_readers_round(
    preparer: Preparer, name: str, bounds: str, yes: list[str], no: list[str]
) -> None:
    prepared = await preparer.prepare(f'{{"type":"{name}",{bounds}}}')
    assert all(writes(prepared.engine_schema, text) for text in yes)
    assert not any(writes(prepared.engine_schema, text) for text in no)
    assert prepared.minimal_instance is not None
    assert normal_form(prepared.minimal_instance) == prepared.minimal_instance


@pytest.mark.parametrize(
    ("bounds", "excluded"),
    [
        ('"exclusiveMinimum":0,"exclusiveMaximum":1e-15', ["0", "0.000000000000001"]),
        ('"exclusiveMinimum":1e-34,"exclusiveMaximum":1e-33', ["0", "1"]),
        ('"exclusiveMinimum":0,"maximum":0.5', ["0", "0.0"]),
        ('"exclusiveMinimum":1,"exclusiveMaximum":1.5', ["1", "1.5"]),
        ('"exclusiveMinimum":0,"maximum":0.5,"multipleOf":0.1', ["0"]),
        ('"minimum":-1.5,"exclusiveMaximum":-1', ["-1"]),
        ('"exclusiveMinimum":-1e-15,"exclusiveMaximum":0', ["0", "-0"]),
        ('"minimum":1e-100', ["0"]),
        ('"maximum":-1e-100', ["0"]),
        ('"minimum":5e-324,"maximum":1e-300', ["0"]),
        ('"exclusiveMinimum":1,"maximum":1.0000000001', ["1"]),
        ('"minimum":0.25,"maximum":0.25', ["0.2", "0.26"]),
    ],
)
async def test_narrow_bounds_leave_a_number_and_exclude_the_rest(
    preparer: Preparer, bounds: str, excluded: list[str]
) -> None:
    prepared = await preparer.prepare(f'{{"type":"number",{bounds}}}')
    assert prepared.minimal_instance is not None
    value = parse_strict(normal_form(prepared.minimal_instance))
    assert prepared.verifier is not None
    assert prepared.verifier.is_valid(value)
    assert not any(writes(prepared.engine_schema, text) for text in excluded)


@pytest.mark.parametrize("length", ["18446744073709551615", "1e300", "4294967296"])
async def test_huge_max_length_is_no_bound(preparer: Preparer, length: str) -> None:
    prepared = await preparer.prepare(f'{{"type":"string","maxLength":{length}}}')
    assert json.loads(prepared.engine_schema)["maxLength"] == 600


EDGES = [
    *(0.0, -0.0, 1, -1, 0.1, 0.5, 1.5, -2.5, 3, 10, 100, 0.001, -0.25),
    *(1e-7, 1e-9, 1e-15, -1e-15, 1e-60, 1e-100, 5e-324, 1e-300),
    *(10**15, 10**15 - 1, MAX, MAX - 1, -MAX, 2**53, 2**53 + 1, 2**63, 2**64 - 1, -(2**63)),
    *(1e15, 1e16, 1e20, 1e21, 10**21, 1e22, 1e23, -1e25, 1.5e300, 1.7976931348623157e308),
]
literals = st.sampled_from(EDGES) | st.floats(allow_nan=False, allow_infinity=False)
literals |= st.integers(-(2**70), 2**70)


@st.composite
def number_schemas(draw: st.DrawFn) -> str:
    """JSON text of a schema of numbers, in any draft."""
    draft4 = draw(st.booleans())
    schema: dict[str, object] = {"type": draw(st.sampled_from(["number", "integer"]))}
    for keyword in draw(st.sets(st.sampled_from(["minimum", "maximum"]))):
        schema[keyword] = draw(literals)
    for keyword, closed in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if draw(st.integers(0, 2)) == 0:
            if not draft4:
                schema[keyword] = draw(literals)
            elif closed in schema:
                schema[keyword] = draw(st.booleans())
    if draw(st.integers(0, 3)) == 0:
        schema["multipleOf"] = draw(st.sampled_from([1, 2, 3, 5, 0.1, 0.25, 0.001, 7, 100, 2.0]))
    if draw(st.integers(0, 3)) == 0:
        schema["enum"] = draw(st.lists(literals, min_size=1, max_size=4, unique=True))
    if not draft4 and draw(st.integers(0, 5)) == 0:
        schema["const"] = draw(literals)
    name = "http://json-schema.org/draft-04/schema#" if draft4 else None
    return json.dumps({"$schema": name, **schema} if name else schema)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(number_schemas())
# The engine reads these bounds as their neighbours.
@example(DRAFT4 % '"type":"number","maximum":2.364968813025445e-57,"minimum":2.364968813025445e-57')
@example('{"type":"number","maximum":-2.364968813025445e-57,"minimum":-2.364968813025445e-57}')
@example('{"type":"number","minimum":2.364968813025445e-57,"maximum":2.3649688130254453e-57}')
@example('{"type":"number","exclusiveMinimum":0,"maximum":1.5e-323}')
@example('{"type":"number","minimum":1e300,"maximum":1.0000000000000001e300}')
@example('{"type":"number","minimum":-1.2345678901234567,"maximum":-1.2345678901234565}')
def test_accepted_number_schema_has_an_answer(text: str) -> None:
    try:
        analysis = analyse(text)
    except SchemaRefusedError:
        return
    verifier = SchemaVerifier(text, Draft(analysis.draft))
    engine = json.loads(analysis.engine_schema)
    if analysis.minimal_instance is None:
        # Negative multiples are left to the check, and few numbers are tried.
        checked = [notice.keyword for notice in analysis.notices if notice.enforcement is CHECKED]
        assert "multipleOf" in checked
        return
    written = [analysis.minimal_instance]
    written += [
        format(value, "f") if isinstance(value, float) and abs(value) >= 1e21 else json.dumps(value)
        for value in [*engine.get("enum", []), *([engine["const"]] if "const" in engine else [])]
    ]
    assert writes(analysis.engine_schema, written[0])
    for number in written:
        if writes(analysis.engine_schema, number):
            assert verifier.is_valid(parse_strict(normal_form(number)))
