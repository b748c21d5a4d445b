"""The replay engine has the properties that its figures rely on."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.performance.replay.engine import ReplayEngine
from bench.performance.replay.load import StreamLog, summarize
from bench.performance.replay.recording import load, recording
from genir.schemas import builtin_ir_schema_text
from genir.v1 import generation_pb2, ir_service_pb2
from genir_server.domain.types import FinishReason, Sampling, TextDelta
from genir_server.engine.protocol import EngineRequest

if TYPE_CHECKING:
    from bench.performance.replay.recording import Recording


async def play(
    recorded: Recording, tokens_per_delta: int, pace: float | None, pause: float = 0.0
) -> list[TextDelta]:
    engine = ReplayEngine([recorded], pace)
    request = EngineRequest("r", [1], "{}", Sampling(), 99, tokens_per_delta=tokens_per_delta)
    deltas = []
    async for delta in engine.generate(request):
        deltas.append(delta)
        await asyncio.sleep(pause)
    assert engine.activity().running == 0
    return deltas


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(max_size=4), min_size=1, max_size=30),
    st.integers(1, 40),
    st.sampled_from([None, 5_000.0]),
)
async def test_no_token_is_lost_and_only_first_and_last_delta_are_short(
    pieces: list[str], tokens_per_delta: int, pace: float | None
) -> None:
    deltas = await play(recording(pieces), tokens_per_delta, pace)
    assert "".join(delta.text for delta in deltas) == "".join(pieces)
    sizes = [delta.token_count for delta in deltas]
    assert sum(sizes) == len(pieces)
    assert all(size >= tokens_per_delta for size in sizes[1:-1])
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].finish_reason is FinishReason.STOP


async def test_unread_tokens_are_merged_into_one_delta() -> None:
    deltas = await play(recording(["x"] * 40), 1, pace=200.0, pause=0.05)
    assert sum(delta.token_count for delta in deltas) == 40
    assert max(delta.token_count for delta in deltas) >= 5


async def test_replay_is_not_faster_than_its_pace() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await play(recording(["x"] * 20), 1, pace=100.0)
    assert loop.time() - began >= 0.19


def test_recordings_are_valid_irs() -> None:
    validator = jsonschema_rs.validator_for(json.loads(builtin_ir_schema_text()))
    for recorded in load():
        assert validator.is_valid(json.loads(recorded.text))
        assert recorded.tokens > 50


def test_gaps_are_within_one_stream_and_ignore_messages_without_text() -> None:
    def delta(tokens: int) -> bytes:
        text = generation_pb2.TextDelta(text="x", token_count=tokens)
        return ir_service_pb2.StreamIRResponse(text_delta=text).SerializeToString()

    accepted = ir_service_pb2.StreamIRResponse(accepted=generation_pb2.Accepted())
    first = StreamLog([1.0, 2.0, 2.5], [accepted.SerializeToString(), delta(1), delta(4)])
    second = StreamLog([2.25, 9.0], [delta(2), delta(2)])
    tokens, messages, gaps = summarize([first, second], since=2.0, until=5.0)
    assert (tokens, messages) == (7, 3)
    assert gaps == pytest.approx([0.5])
