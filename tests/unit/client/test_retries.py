"""Which calls are retried, and when."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest

from genir import (
    ErrorDetails,
    ErrorReason,
    GenirError,
    OverloadedError,
    RetryPolicy,
    UnavailableError,
)
from genir._retry import CallBudget
from tests.support.contract_server import (
    MODEL_LOADING,
    OVERLOADED,
    ContractServer,
    accepted,
    delta,
    play,
    refused,
    started,
    success,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.client_adapters import Caller


async def test_overloaded_with_a_delay_is_retried(caller: Caller, server: ContractServer) -> None:
    busy = refused(replace(OVERLOADED, retry_after=0.2))
    server.script(busy, busy, success())
    assert (await caller.generate("hello", timeout=5)).value == {"a": 1}
    assert len(server.calls) == 3
    # All attempts share one deadline; gRPC rounds the remaining time up to 10 ms.
    first, second, third = (call.time_remaining for call in server.calls)
    assert first > second + 0.15 > third + 0.3


async def test_overloaded_without_a_delay_is_not_retried(
    caller: Caller, server: ContractServer
) -> None:
    server.script(refused(replace(OVERLOADED, retry_after=None)), success())
    with pytest.raises(OverloadedError) as raised:
        await caller.generate("hello")
    assert raised.value.retry_delay is None
    assert len(server.calls) == 1


async def test_max_attempts_limits_the_retries(
    server: ContractServer, connect: Callable[..., Caller]
) -> None:
    server.script(refused(OVERLOADED))
    with pytest.raises(OverloadedError) as raised:
        await connect(server.target, retry=RetryPolicy(max_attempts=3)).generate("hello")
    assert raised.value.retry_delay == timedelta(milliseconds=20)
    assert len(server.calls) == 3


async def test_delay_beyond_the_deadline_is_not_waited_for(
    caller: Caller, server: ContractServer
) -> None:
    server.script(refused(replace(OVERLOADED, retry_after=20)))
    began = time.monotonic()
    with pytest.raises(OverloadedError):
        await caller.generate("hello", timeout=10)
    assert time.monotonic() - began < 5
    assert len(server.calls) == 1


async def test_loading_server_is_retried_until_it_answers(
    caller: Caller, server: ContractServer
) -> None:
    server.script(*[refused(MODEL_LOADING)] * 4, success())
    assert (await caller.generate("hello")).value == {"a": 1}
    assert len(server.calls) == 5


async def test_unavailable_without_a_delay_is_tried_three_times(
    caller: Caller, server: ContractServer
) -> None:
    server.script(refused(replace(MODEL_LOADING, reason="ENGINE_DEAD", retry_after=None)))
    with pytest.raises(UnavailableError) as raised:
        await caller.generate("hello")
    assert raised.value.reason == "ENGINE_DEAD"
    assert len(server.calls) == 3


STARTED = [[accepted()], [accepted(), started(), delta("{")]]


@pytest.mark.parametrize("messages", STARTED)
async def test_stream_is_not_retried_after_its_first_event(
    caller: Caller, server: ContractServer, messages: list[object]
) -> None:
    server.script(play(*messages, refusal=MODEL_LOADING), success())  # type: ignore[arg-type]
    with pytest.raises(UnavailableError):
        await caller.events("hello")
    assert len(server.calls) == 1


@pytest.mark.parametrize("messages", STARTED)
async def test_generate_is_retried_after_its_first_event(
    caller: Caller, server: ContractServer, messages: list[object]
) -> None:
    gone = replace(MODEL_LOADING, retry_after=None)
    server.script(play(*messages, refusal=gone), success())  # type: ignore[arg-type]
    assert (await caller.generate("hello")).value == {"a": 1}
    assert len(server.calls) == 2


async def test_raw_output_after_a_retry_is_that_of_the_last_try(
    caller: Caller, server: ContractServer
) -> None:
    gone = replace(MODEL_LOADING, retry_after=None)
    server.script(
        play(accepted(), started(), delta("first"), refusal=gone),
        play(
            accepted(),
            started(),
            delta("second"),
            refusal=replace(gone, code=grpc.StatusCode.INTERNAL),
        ),
    )
    with pytest.raises(GenirError) as raised:
        await caller.generate("hello")
    assert raised.value.raw_output == "second"


async def test_refused_connection_is_unavailable_at_once(connect: Callable[..., Caller]) -> None:
    with ContractServer() as gone:
        target = gone.target
    began = time.monotonic()
    with pytest.raises(UnavailableError) as raised:
        await connect(target).generate("hello")
    assert raised.value.reason == "UNAVAILABLE"
    assert time.monotonic() - began < 10


async def test_calls_succeed_while_one_of_two_addresses_is_down(
    server: ContractServer, connect: Callable[..., Caller]
) -> None:
    with ContractServer() as gone:
        dead = gone.target
    caller = connect([dead, server.target])
    for _ in range(6):
        assert (await caller.generate("hello")).value == {"a": 1}
    assert len(server.calls) == 6


async def test_serving_addresses_share_the_calls(
    server: ContractServer, connect: Callable[..., Caller]
) -> None:
    with ContractServer() as other, ContractServer() as loading:
        loading.set_serving(serving=False)
        caller = connect([server.target, other.target, loading.target])
        # Connections open one by one. When all are open, calls alternate.
        while not (server.calls and other.calls):
            await caller.generate("hello")
        server.calls.clear()
        other.calls.clear()
        for _ in range(10):
            await caller.generate("hello")
        assert (len(server.calls), len(other.calls), len(loading.calls)) == (5, 5, 0)


async def test_call_ends_by_its_deadline_when_its_server_goes_away(
    connect: Callable[..., Caller],
) -> None:
    for _ in range(4):
        with ContractServer() as leaving:
            caller = connect(leaving.target)
            await caller.generate("hello")
            calls = asyncio.create_task(_three_calls(caller))
            await asyncio.sleep(0)
        await asyncio.wait_for(calls, 10)


async def _three_calls(caller: Caller) -> None:
    for _ in range(3):
        with contextlib.suppress(GenirError):
            await caller.generate("hello", timeout=0.5)


def refusal(
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, delay: float | None = 1.0
) -> GenirError:
    retry_delay = None if delay is None else timedelta(seconds=delay)
    return GenirError(
        ErrorDetails(reason=ErrorReason.UNKNOWN, message="", code=code, retry_delay=retry_delay)
    )


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def assert_not_retried(budget: CallBudget, error: GenirError) -> None:
    with pytest.raises(GenirError) as raised:
        budget.pause_before_retry(error)
    assert raised.value is error


def test_remaining_time_never_falls_below_zero() -> None:
    clock = Clock()
    budget = CallBudget(RetryPolicy(), 10, clock)
    clock.now += 4
    assert budget.remaining == 6
    clock.now += 40
    assert budget.remaining == 0
    assert_not_retried(budget, refusal())


def test_pause_is_the_servers_delay_plus_up_to_a_fifth() -> None:
    pauses = [CallBudget(RetryPolicy(), 10).pause_before_retry(refusal()) for _ in range(50)]
    assert all(1 <= pause <= 1.2 for pause in pauses)
    assert len(set(pauses)) > 1


@pytest.mark.parametrize(
    ("error", "policy"),
    [
        (refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, None), RetryPolicy()),
        (refusal(delay=31), RetryPolicy()),
        (refusal(code=grpc.StatusCode.INTERNAL), RetryPolicy()),
        (refusal(code=grpc.StatusCode.DEADLINE_EXCEEDED), RetryPolicy()),
        (refusal(), RetryPolicy(max_attempts=1)),
    ],
    ids=["no delay", "too long", "fault", "deadline", "no attempts left"],
)
def test_error_is_not_retried(error: GenirError, policy: RetryPolicy) -> None:
    assert_not_retried(CallBudget(policy, 100), error)


def test_policy_of_no_attempts_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        RetryPolicy(max_attempts=0)


def test_each_retry_is_logged_without_the_servers_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="genir")
    budget = CallBudget(RetryPolicy(max_attempts=2), 10, Clock())
    error = GenirError(
        ErrorDetails(
            reason=ErrorReason.OVERLOADED,
            message="private text",
            code=grpc.StatusCode.RESOURCE_EXHAUSTED,
            retry_delay=timedelta(seconds=1),
        )
    )
    assert budget.pause_before_retry(error) >= 1
    assert_not_retried(budget, error)
    [record] = caplog.records
    assert record.name == "genir"
    assert record.getMessage().startswith(
        "attempt 1 of 2 failed with OVERLOADED; next attempt in 1."
    )
