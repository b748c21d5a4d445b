"""Statuses stay small whatever goes in, and every reason has its code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from genir.v1 import status_pb2
from genir_server.domain.errors import FieldViolation, GenirError, Reason
from genir_server.domain.types import (
    Attempt,
    AttemptReason,
    FinishReason,
    GenerationFailure,
    Resumption,
    ResumptionReason,
    Usage,
    Violation,
)
from genir_server.transport.status import CODES, MAX_DETAILS_BYTES, grpc_code, rpc_status

if TYPE_CHECKING:
    from google.protobuf.message import Message

PERCENT_ENCODED = 3
TRAILER_LIMIT = 8 * 1024

texts = st.text(max_size=3000)
resumptions = st.builds(
    Resumption,
    pointer=texts.map(lambda text: 40 * text),
    reason=st.just(ResumptionReason.BUDGET),
    kept_tokens=st.just(1),
    dropped_tokens=st.just(2),
)
violations = st.builds(Violation, texts, texts, texts, texts)
failures = st.builds(
    GenerationFailure,
    finish_reason=st.sampled_from([*FinishReason, None]),
    usage=st.just(Usage(1, 2, 3)),
    attempts=st.lists(
        st.builds(
            Attempt,
            number=st.just(1),
            reason=st.just(AttemptReason.FIRST),
            finish_reason=st.just(FinishReason.STOP),
            usage=st.just(Usage(1, 2, 3)),
            resumptions=st.lists(resumptions, max_size=2).map(tuple),
        ),
        max_size=5,
    ).map(tuple),
    violations=st.lists(violations, max_size=30).map(tuple),
    raw=st.text(max_size=5000).map(lambda text: text * 3),
)
errors = st.builds(
    GenirError,
    reason=st.sampled_from(Reason),
    message=texts,
    fields=st.lists(st.builds(FieldViolation, texts, texts), max_size=12).map(tuple),
    retry_after=st.none() | st.floats(0, 1e6),
    failure=st.none() | failures,
)


def detail(status: Any, kind: type[Message]) -> Any:
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            message = kind()
            packed.Unpack(message)
            return message
    return None


def test_every_reason_is_in_the_contract_with_its_code() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name, _ in status_pb2.ErrorReason.items()}
    assert names - {"UNSPECIFIED"} == {reason.value for reason in Reason}
    assert set(CODES) == set(Reason)
    assert grpc.StatusCode.UNKNOWN not in CODES.values()


@given(errors)
def test_status_fits_a_trailer(error: GenirError) -> None:
    status = rpc_status(error, "r" * 128)
    assert grpc_code(status) is CODES[error.reason]
    encoded = 4 * len(status.SerializeToString()) / 3 + PERCENT_ENCODED * len(
        status.message.encode()
    )
    assert encoded < TRAILER_LIMIT
    assert detail(status, error_details_pb2.ErrorInfo).reason == error.reason.value
    if error.failure is not None:
        failure = detail(status, status_pb2.GenerationFailure)
        assert status.ByteSize() <= MAX_DETAILS_BYTES + 200
        assert failure.violation_count == len(error.failure.violations)
        assert failure.raw_size_bytes == len(error.failure.raw.encode())
        assert error.failure.raw.startswith(failure.raw_head)
        assert error.failure.raw.endswith(failure.raw_tail)


def test_short_text_is_reported_in_full() -> None:
    failure = GenerationFailure(FinishReason.LENGTH, Usage(1, 0, 2), (), (), '{"a":')
    status = rpc_status(GenirError(Reason.TRUNCATED, "cut", failure=failure), "r")
    told = detail(status, status_pb2.GenerationFailure)
    assert (told.raw_head, told.raw_tail) == ('{"a":', "")
