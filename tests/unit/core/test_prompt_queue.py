"""Callers share the tokenizer: a backlog of large prompts delays nobody else for long."""

from __future__ import annotations

import asyncio

import pytest

from genir_server.core.prompt_queue import (
    LARGE_CHARACTERS,
    SMALL_TURNS,
    PromptQueue,
    prompt_characters,
)
from genir_server.domain.types import GenerationRequest, Message, Role
from tests.support.scripted_engine import prepared

LARGE = LARGE_CHARACTERS + 1


class Work:
    """Renderings that go on until the test ends them."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    async def do(self, name: str) -> str:
        self.started.append(name)
        await self._ends.setdefault(name, asyncio.Event()).wait()
        return name

    async def end(self, name: str) -> None:
        self._ends[name].set()
        for _ in range(5):
            await asyncio.sleep(0)


async def start(queue: PromptQueue, work: Work, *names: str, size: int) -> list[asyncio.Task[str]]:
    """Starts works named after their callers: "a1" is one of caller "a"."""
    tasks = [asyncio.create_task(queue.run(work.do(name), name[0], size)) for name in names]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_caller_waits_for_no_queue_of_another() -> None:
    queue, work = PromptQueue(), Work()
    tasks = await start(queue, work, "a1", "a2", "a3", "a4", "b1", "b2", size=LARGE)
    for _ in tasks:
        await work.end(work.started[-1])
    # The only work that has taken time so far is a1.
    assert work.started[:2] == ["a1", "b1"]
    assert await asyncio.gather(*tasks) == ["a1", "a2", "a3", "a4", "b1", "b2"]


async def test_large_prompts_leave_turns_to_small_ones() -> None:
    queue, work = PromptQueue(), Work()
    tasks = await start(queue, work, "a1", "a2", size=LARGE)
    tasks += await start(queue, work, "b1", size=1)
    assert work.started == ["a1", "b1"]
    for name in ("b1", "a1", "a2"):
        await work.end(name)
    await asyncio.gather(*tasks)


async def test_cancelled_work_keeps_its_turn_until_its_end() -> None:
    queue, work = PromptQueue(), Work()
    names = [f"a{number}" for number in range(SMALL_TURNS + 2)]
    tasks = await start(queue, work, *names, size=1)
    running, waiting = tasks[0], tasks[-1]
    for task in (running, waiting):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    # The turn is still taken, because a thread cannot be interrupted.
    assert work.started == names[:SMALL_TURNS]
    await work.end(names[0])
    assert work.started == names[: SMALL_TURNS + 1]
    for name in names[1:-1]:
        await work.end(name)
    assert work.started == names[:-1]
    await asyncio.gather(*tasks[1:-1])


async def test_faults_reach_the_caller_and_end_the_turn() -> None:
    queue = PromptQueue()

    async def fail() -> None:
        raise ValueError("no")

    for _ in range(SMALL_TURNS + 1):
        with pytest.raises(ValueError, match="no"):
            await queue.run(fail(), "a", 1)


def test_size_counts_every_text_of_a_prompt() -> None:
    schema = prepared()
    base = len(schema.shown_full)
    request = GenerationRequest(request_id="r", prompt="1234", system="56")
    assert prompt_characters(request, schema) == base + 6
    turns = (Message(Role.USER, "123"), Message(Role.ASSISTANT, "45"))
    assert (
        prompt_characters(GenerationRequest(request_id="r", conversation=turns), schema) == base + 5
    )
