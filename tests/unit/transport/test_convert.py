from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genir.v1 import generation_pb2 as generation
from genir.v1 import ir_service_pb2 as service
from genir.v1 import schema_pb2 as schema
from genir.v1 import status_pb2 as status
from genir_server.core.schema_check import SchemaCheck, SchemaCheckRequest
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.limits import DEFAULT_MAX_ATTEMPTS
from genir_server.domain.types import (
    Enforcement,
    GenerationRequest,
    Message,
    PromptFormat,
    Role,
    Sampling,
    SchemaCoverage,
    SchemaInPrompt,
    SchemaLimit,
    SchemaNotice,
    SchemaShown,
    TextDelta,
)
from genir_server.schema.types import SchemaStatistics
from genir_server.transport.convert import (
    duration,
    event_to_message,
    event_to_proto,
    request_from_spec,
)
from genir_server.transport.convert_schema import (
    schema_check_from_request,
    schema_check_to_proto,
    schema_statistics_to_proto,
    warmed_schema_to_proto,
)
from tests.support.scripted_engine import prepared


def test_empty_spec_gets_every_default() -> None:
    assert request_from_spec(generation.GenerationSpec(), "r") == GenerationRequest("r")
    assert GenerationRequest("r").max_attempts == DEFAULT_MAX_ATTEMPTS
    assert Sampling() == Sampling(temperature=0.3, top_p=0.95, top_k=0)


def test_zero_is_a_value() -> None:
    spec = generation.GenerationSpec(
        prompt="", temperature=0.0, min_p=0.0, seed=0, max_tokens=0, max_attempts=0, system=""
    )
    request = request_from_spec(spec, "r")
    assert request.prompt == ""
    assert request.sampling.temperature == 0
    assert request.sampling.seed == 0
    assert request.max_tokens == 0
    assert request.max_attempts == 0
    assert request.system == ""


def test_every_set_field_is_converted() -> None:
    spec = generation.GenerationSpec(
        conversation=generation.Conversation(
            messages=[generation.Message(role=generation.ROLE_USER, content="hi")]
        ),
        model="m",
        schema_digest="sha256:x",
        schema_in_prompt=generation.SCHEMA_IN_PROMPT_NEVER,
        temperature=1.5,
        top_p=0.5,
        top_k=7,
        min_p=0.1,
        seed=2**40,
        frequency_penalty=-1,
        presence_penalty=1,
        repetition_penalty=1.25,
        max_tokens=9,
        priority=-3,
        max_attempts=4,
        lora_adapter="poet",
        prompt_format=generation.PROMPT_FORMAT_RAW,
    )
    assert request_from_spec(spec, "r") == GenerationRequest(
        "r",
        conversation=(Message(Role.USER, "hi"),),
        model="m",
        schema_digest="sha256:x",
        schema_in_prompt=SchemaInPrompt.NEVER,
        sampling=Sampling(1.5, 0.5, 7, 0.1, 2**40, -1, 1, 1.25),
        max_tokens=9,
        priority=-3,
        max_attempts=4,
        lora_adapter="poet",
        prompt_format=PromptFormat.RAW,
    )


@pytest.mark.parametrize("field", ["schema_in_prompt", "prompt_format"])
def test_unknown_enum_value_is_refused(field: str) -> None:
    values: dict[str, Any] = {field: 99}
    spec = generation.GenerationSpec(**values)
    with pytest.raises(GenirError) as raised:
        request_from_spec(spec, "r")
    assert raised.value.reason is Reason.INVALID_FIELD
    assert raised.value.fields[0].field == f"spec.{field}"


def test_missing_role_is_refused() -> None:
    spec = generation.GenerationSpec(
        conversation=generation.Conversation(messages=[generation.Message(content="hi")])
    )
    with pytest.raises(GenirError) as raised:
        request_from_spec(spec, "r")
    assert raised.value.fields[0].field == "spec.conversation.messages[0].role"


@pytest.mark.parametrize(("seconds", "nanos"), [(1.5, 1_500_000_000), (0, 0), (-1, 0)])
def test_durations(seconds: float, nanos: int) -> None:
    assert duration(seconds).ToNanoseconds() == nanos


def test_a_question_about_a_schema() -> None:
    assert schema_check_from_request(service.CheckSchemaRequest()) == SchemaCheckRequest()
    assert schema_check_from_request(
        service.CheckSchemaRequest(json_schema="", include_engine_schema=True)
    ) == SchemaCheckRequest(json_schema="", include_engine_schema=True)
    assert schema_check_from_request(
        service.CheckSchemaRequest(schema_digest="sha256:x")
    ) == SchemaCheckRequest(schema_digest="sha256:x")


def test_every_field_of_a_schema_check_is_converted() -> None:
    check = SchemaCheck(
        schema=prepared(
            notices=(SchemaNotice("not", "/not", Enforcement.CHECKED_AFTER_DECODING, "why"),),
            minimal_instance='{"a":0}',
            min_tokens=4,
            closable_tokens=7,
            draft="7",
            prepare_seconds=0.5,
            compile_seconds=0.25,
            max_mask_seconds=0.001,
        ),
        coverage=SchemaCoverage.CHECKED,
        limits=(SchemaLimit("nodes", 50, 0), SchemaLimit("quantifier", 9)),
        engine_schema="{}",
        cached=True,
        schema_shown=SchemaShown.NONE,
    )
    told = schema_check_to_proto(check, "r-1")
    assert told.schema_digest == check.schema.digest
    assert told.draft == "7"
    assert told.coverage == schema.SCHEMA_COVERAGE_CHECKED
    assert told.schema_notices[0].enforcement == generation.ENFORCEMENT_CHECKED_AFTER_DECODING
    times = (told.prepare_elapsed, told.compile_elapsed, told.max_mask_elapsed)
    assert [time.ToMilliseconds() for time in times] == [500, 250, 1]
    nodes, quantifier = told.limits
    assert (nodes.name, nodes.max, nodes.HasField("value"), nodes.value) == ("nodes", 50, True, 0)
    assert not quantifier.HasField("value")
    assert (told.minimal_instance, told.min_tokens, told.closable_tokens) == ('{"a":0}', 4, 7)
    assert (told.engine_schema, told.cached, told.request_id) == ("{}", True, "r-1")
    assert told.schema_shown == generation.SCHEMA_SHOWN_NONE
    unset = {field.name for field in told.DESCRIPTOR.fields} - {
        field.name for field, _ in told.ListFields()
    }
    assert not unset


def test_refusal_in_a_warm_up_is_short() -> None:
    error = GenirError(
        Reason.SCHEMA_TOO_COMPLEX, "m" * 9_999, metadata={"pointer": "/a" * 9_999, "limit": "nodes"}
    )
    told = warmed_schema_to_proto(error)
    assert told.refusal.reason == status.ERROR_REASON_SCHEMA_TOO_COMPLEX
    assert told.refusal.metadata["limit"] == "nodes"
    assert told.ByteSize() < 1_000
    assert warmed_schema_to_proto(prepared()).schema_digest == prepared().digest


def test_every_schema_statistic_is_converted() -> None:
    statistics = SchemaStatistics(
        1, 2, 3, 4, 5, 6, 7, 8, 9.5, 10.5, {Reason.SCHEMA_INVALID: 11}, 12, 13, 14
    )
    told = schema_statistics_to_proto(statistics)
    assert told.total_prepare_elapsed.ToMilliseconds() == 9_500
    assert told.max_prepare_elapsed.ToMilliseconds() == 10_500
    assert dict(told.refused) == {"SCHEMA_INVALID": 11}
    counts = [value for _, value in told.ListFields() if isinstance(value, int)]
    assert counts == [1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14]


@pytest.mark.parametrize("delta", [TextDelta("é{", 3), TextDelta("", 1), TextDelta("", 0)])
def test_empty_delta_is_still_a_delta(delta: TextDelta) -> None:
    sent = service.StreamIRResponse.FromString(event_to_message(delta))
    assert sent.WhichOneof("event") == "text_delta"
    assert (sent.text_delta.text, sent.text_delta.token_count) == delta[:2]


@given(
    st.lists(
        st.builds(
            TextDelta,
            st.text(max_size=3) | st.text(alphabet=st.sampled_from('{":é'), min_size=14),
            st.integers(0, 3),
        )
    )
)
def test_cached_delta_message_equals_a_fresh_one(deltas: list[TextDelta]) -> None:
    for delta in [*deltas, *deltas]:
        assert event_to_message(delta) == event_to_proto(delta).SerializeToString()
