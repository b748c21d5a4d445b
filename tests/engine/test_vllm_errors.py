"""What vLLM's AsyncLLM raises becomes an error of the engine protocol, on vLLM 0.32 and 0.33."""

from __future__ import annotations

import pytest

from genir_server.engine.protocol import (
    EngineDeadError,
    EngineRejectedError,
    EngineUnavailableError,
)
from genir_server.engine.vllm.environment import prepare_environment
from genir_server.engine.vllm.errors import engine_error

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")


@pytest.fixture(autouse=True)
def _environment() -> None:
    prepare_environment()


def wrapped(cause: Exception) -> Exception:
    """`cause` as vLLM 0.32 raises errors of a single request."""
    from vllm.v1.engine.exceptions import EngineGenerateError

    error: Exception = EngineGenerateError()
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("wrapping", [False, True])
def test_errors_that_a_retry_helps_against_are_unavailable(*, wrapping: bool) -> None:
    from vllm import exceptions

    for error in (
        exceptions.RetryableRequestError("generation is paused"),
        exceptions.QueueOverflowError(),
        exceptions.MaxQueuedTokensError(),
    ):
        typed = engine_error(wrapped(error) if wrapping else error, dead=False)
        assert isinstance(typed, EngineUnavailableError)
        assert str(typed) == str(error)


@pytest.mark.parametrize("wrapping", [False, True])
def test_errors_of_the_request_are_rejections(*, wrapping: bool) -> None:
    from vllm.exceptions import LoRAAdapterNotFoundError, VLLMValidationError

    for error in (
        VLLMValidationError("Grammar error: no such type"),
        LoRAAdapterNotFoundError("poet", "nowhere"),
    ):
        typed = engine_error(wrapped(error) if wrapping else error, dead=False)
        assert isinstance(typed, EngineRejectedError)
        assert str(typed) == str(error)


def test_errors_of_a_dead_engine_are_its_death() -> None:
    from vllm.exceptions import GenerationError, RetryableRequestError
    from vllm.v1.engine import exceptions

    death = exceptions.EngineDeadError()
    assert isinstance(engine_error(death, dead=False), EngineDeadError)
    for error in (
        exceptions.EngineGenerateError(),
        GenerationError(),
        RetryableRequestError(),
    ):
        assert isinstance(engine_error(error, dead=True), EngineDeadError)


@pytest.mark.parametrize("wrapping", [False, True])
def test_other_errors_stay_internal(*, wrapping: bool) -> None:
    from vllm.exceptions import GenerationError

    for error in (GenerationError("a token was lost"), RuntimeError("no such reason")):
        assert engine_error(wrapped(error) if wrapping else error, dead=False) is None
