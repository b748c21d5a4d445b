"""Streams whose text goes on from an earlier place, and results that end early."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc
import pytest

from genir import (
    InvalidResponseError,
    IRClient,
    OnBudget,
    Resumption,
    ResumptionReason,
    Rewound,
    TextDelta,
    TruncatedError,
)
from genir.v1 import generation_pb2, ir_service_pb2
from tests.support.cli import run
from tests.support.contract_server import (
    ContractServer,
    Refusal,
    accepted,
    completed,
    delta,
    play,
    started,
)

if TYPE_CHECKING:
    from tests.support.client_adapters import Caller

BUDGET = generation_pb2.RESUMPTION_REASON_BUDGET


def rewound(to_bytes: int) -> ir_service_pb2.StreamIRResponse:
    return ir_service_pb2.StreamIRResponse(
        rewound=generation_pb2.Rewound(to_bytes=to_bytes, reason=BUDGET, pointer="/é")
    )


def ended_early(ir_json: str) -> ir_service_pb2.StreamIRResponse:
    event = completed(ir_json)
    event.completed.closed_early.extend(["", "/é"])
    event.completed.finish_reason = generation_pb2.FINISH_REASON_LENGTH
    event.completed.attempts[0].resumptions.add(
        pointer="/é", reason=BUDGET, kept_tokens=5, dropped_tokens=2
    )
    return event


async def test_text_goes_on_from_the_place(caller: Caller, server: ContractServer) -> None:
    value = '{"é":"abx"}'
    server.script(
        play(
            accepted(),
            started(),
            delta('{"é":"abcdef'),
            rewound(len('{"é":"ab'.encode())),
            delta('x"}'),
            ended_early(value),
        )
    )
    events = await caller.events("hello")
    assert Rewound(9, ResumptionReason.BUDGET, "/é") in events
    assert [event.text for event in events if isinstance(event, TextDelta)] == [
        '{"é":"abcdef',
        'x"}',
    ]
    result = await caller.generate("hello")
    assert result.ir_json == value
    assert result.closed_early == ("", "/é")
    assert result.attempts[0].resumptions == (Resumption("/é", ResumptionReason.BUDGET, 5, 2),)


def test_text_of_a_stream_is_what_still_counts(server: ContractServer) -> None:
    server.script(
        play(accepted(), started(), delta('{"a":12'), rewound(6), delta("}"), completed('{"a":1}'))
    )
    texts: list[str] = []
    with IRClient(server.target) as client, client.stream("hello") as stream:
        texts.extend(stream.text for _ in stream)
    assert texts == ["", "", '{"a":12', '{"a":1', '{"a":1}', '{"a":1}']


async def test_raw_output_of_a_failure_is_what_still_counts(
    caller: Caller, server: ContractServer
) -> None:
    refusal = Refusal(grpc.StatusCode.OUT_OF_RANGE, "TRUNCATED")
    server.script(
        play(accepted(), started(), delta('{"a":12'), rewound(5), delta("3"), refusal=refusal)
    )
    with pytest.raises(TruncatedError) as raised:
        await caller.generate("hello")
    assert raised.value.raw_output == '{"a":3'


@pytest.mark.parametrize("to_bytes", [13, -1, 3])
async def test_place_outside_the_text_or_inside_a_character_is_refused(
    caller: Caller, server: ContractServer, to_bytes: int
) -> None:
    server.script(
        play(accepted(), started(), delta('{"é":"abc"}'), rewound(to_bytes), completed('{"é":1}'))
    )
    with pytest.raises(InvalidResponseError):
        await caller.generate("hello")


async def test_text_before_any_attempt_cannot_be_taken_back(
    caller: Caller, server: ContractServer
) -> None:
    server.script(play(accepted(), rewound(0), started(), completed('{"a":1}')))
    with pytest.raises(InvalidResponseError, match="rewound"):
        await caller.generate("hello")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("fail", generation_pb2.ON_BUDGET_FAIL),
        (OnBudget.CLOSE, generation_pb2.ON_BUDGET_CLOSE),
        (None, generation_pb2.ON_BUDGET_UNSPECIFIED),
    ],
)
async def test_option_is_sent(
    caller: Caller, server: ContractServer, given: OnBudget | None, sent: int
) -> None:
    await caller.generate("hello", on_budget=given)
    request = server.calls[-1].request
    assert isinstance(request, ir_service_pb2.StreamIRRequest)
    assert request.spec.on_budget == sent


def test_command_line_says_where_the_value_ended_early(server: ContractServer) -> None:
    ir_json = '{"é":"ab"}'
    server.script(
        play(
            accepted(),
            started(),
            delta('{"é":"abcdef'),
            rewound(9),
            delta('"}'),
            ended_early(ir_json),
        )
    )
    done = run("generate", "hello", "--on-budget", "close", "--stream", server=server)
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"é": "ab"}
    assert "the text goes on after its first 9 bytes" in done.stderr
    assert "ended early at /é: max_tokens did not suffice" in done.stderr
