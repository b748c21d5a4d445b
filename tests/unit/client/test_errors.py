"""Error reasons, exceptions and exit codes."""

from __future__ import annotations

import pickle
from datetime import timedelta

import grpc
import pytest

from genir import ErrorDetails, ErrorReason, GenirError, NotFoundError, SchemaError, errors
from genir._status import _BY_REASON
from genir.cli.exit_codes import MEANINGS, ExitCode, exit_code_of
from genir.v1 import status_pb2

REASONS = {
    name.removeprefix("ERROR_REASON_")
    for name in status_pb2.ErrorReason.keys()  # noqa: SIM118 - not a mapping
    if name != "ERROR_REASON_UNSPECIFIED"
}


def test_every_reason_of_the_contract_has_an_exception() -> None:
    assert {reason.value for reason in _BY_REASON} == REASONS


def test_every_status_code_and_contract_reason_is_an_error_reason() -> None:
    codes = {code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK}
    assert codes | REASONS <= {reason.value for reason in ErrorReason}


def test_unknown_reason_becomes_unrecognized() -> None:
    assert ErrorReason("INVENTED_LATER") is ErrorReason.UNRECOGNIZED


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (ErrorReason.INVALID_FIELD, 2),
        (ErrorReason.MESSAGE_UNDECODABLE, 2),
        (ErrorReason.SCHEMA_INVALID, 2),
        (ErrorReason.SCHEMA_UNSUPPORTED, 2),
        (ErrorReason.SCHEMA_TOO_COMPLEX, 2),
        (ErrorReason.PROMPT_TOO_LONG, 2),
        (ErrorReason.BUDGET_TOO_SMALL, 2),
        (ErrorReason.MODEL_NOT_FOUND, 2),
        (ErrorReason.SCHEMA_NOT_FOUND, 2),
        (ErrorReason.LORA_ADAPTER_NOT_FOUND, 2),
        (ErrorReason.TRUNCATED, 4),
        (ErrorReason.VALIDATION_FAILED, 4),
        (ErrorReason.CONSTRAINT_FAILED, 4),
        (ErrorReason.MODEL_LOADING, 3),
        (ErrorReason.DRAINING, 3),
        (ErrorReason.ENGINE_DEAD, 3),
        (ErrorReason.ENGINE_UNAVAILABLE, 3),
        (ErrorReason.OVERLOADED, 6),
        (ErrorReason.DEADLINE_EXCEEDED, 5),
        (ErrorReason.INTERNAL, 1),
    ],
)
def test_exit_codes_are_stable(reason: ErrorReason, code: int) -> None:
    error = _BY_REASON[reason](ErrorDetails(reason=reason, message=""))
    assert exit_code_of(error) == code


def test_every_exit_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ExitCode)
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    for kind in kinds:
        if issubclass(kind, GenirError):
            assert (
                exit_code_of(kind(ErrorDetails(reason=ErrorReason.UNKNOWN, message=""))) in MEANINGS
            )


def test_error_has_a_readable_text_and_can_be_pickled() -> None:
    details = ErrorDetails(
        reason=ErrorReason.SCHEMA_NOT_FOUND,
        message="send the text",
        code=grpc.StatusCode.NOT_FOUND,
        request_id="r-1",
        retry_delay=timedelta(seconds=1),
    )
    error = pickle.loads(pickle.dumps(NotFoundError(details)))  # noqa: S301 - our own bytes
    assert isinstance(error, NotFoundError)
    assert str(error) == "SCHEMA_NOT_FOUND: send the text (request id r-1)"
    assert error.details == details
    assert (error.violations, error.usage, error.attempts) == ((), None, ())


def test_schema_error_is_an_invalid_request_error() -> None:
    assert issubclass(SchemaError, errors.InvalidRequestError)
