"""Slow and deadly schemas cost nobody else anything: neither a worker nor a place in the queue."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

import psutil
import pytest

from genir_server.domain.errors import GenirError, Reason
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.isolation import worker_main as worker
from genir_server.schema.isolation.forked_child import Children, Death
from genir_server.schema.isolation.pool import WorkerPool
from genir_server.schema.isolation.worker_client import WorkerProcess
from genir_server.schema.limits import NarrowingBounds, SchemaLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from genir_server.domain.types import Tightening
    from genir_server.schema.pipeline import Analyser

SLOW = 5
# Counts the forks that handlers see, gRPC's among them, by being such a handler.
FORKS = """
import asyncio, ctypes, sys, uvloop
from genir_server.schema.isolation.worker_client import WorkerProcess

forks = []
seen = ctypes.CFUNCTYPE(None)(lambda: forks.append(1))
ctypes.CDLL(None).__register_atfork(seen, None, None, None)

async def main():
    worker = await WorkerProcess.start()
    worker.kill()
    await worker.wait()
    by_worker = len(forks)
    plain = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await plain.wait()
    print(by_worker, len(forks) > by_worker)

uvloop.run(main())
"""
# Inherits orphans, as process 1 of a container does, and prints what is left of a killed worker.
HEIR = """
import asyncio, ctypes, psutil
from genir_server.schema.isolation.worker_client import WorkerProcess

async def main():
    worker = await WorkerProcess.start()
    await worker.ask(b'{"limits": {}, "bounds": {}, "tokenizer": null, "for_xgrammar": false}')
    while not (spares := psutil.Process(worker.pid).children()):
        await asyncio.sleep(0.01)
    worker.kill()
    code = await worker.wait()
    print(code, len(spares), psutil.Process().children())

PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[WorkerPool]:
    # Patient, because the machine may be busy.
    limits = SchemaLimits(quick_seconds=0.05, probe_wall_seconds=120.0)
    subject = WorkerPool(None, limits, NarrowingBounds(), workers=1)
    await subject.start()
    yield subject
    await subject.close()


def slow(number: int) -> str:
    """A schema that stays below every limit and takes seconds."""
    alternatives = [
        {"type": "object", "properties": {f"k{index}": True}, "required": ["k0"]}
        for index in range(2_000)
    ]
    return json.dumps({"title": str(number), "oneOf": alternatives})


def pids(pool: WorkerPool) -> set[int]:
    return {worker.pid for worker in pool._all}


async def test_a_plain_schema_does_not_wait_for_slow_ones(pool: WorkerPool) -> None:
    before = pids(pool)
    start = time.monotonic()
    slow_ones = [asyncio.create_task(pool.analyse(slow(number))) for number in range(SLOW)]
    await asyncio.sleep(0.01)
    waits = []
    for number in range(SLOW):
        asked = time.monotonic()
        await pool.analyse(json.dumps({"title": str(number), "type": "null"}))
        waits.append(time.monotonic() - asked)
    outcomes = await asyncio.gather(*slow_ones, return_exceptions=True)
    whole = time.monotonic() - start
    assert all(isinstance(outcome, SchemaRefusedError) for outcome in outcomes)
    # All had to wait for the first steps of the slow ones, and for no more than that.
    assert sum(waits) < whole / 2
    assert pids(pool) == before
    assert pool.counters.slow > 0


async def test_one_callers_many_schemas_do_not_keep_the_others_waiting(pool: WorkerPool) -> None:
    """They get the worker in turns, whoever asked first and however often."""
    before = pool.counters.slow
    many = [asyncio.create_task(pool.analyse(slow(number), "many")) for number in range(SLOW)]
    await asyncio.sleep(0.01)
    await pool.analyse('{"title": "one", "type": "null"}', "one")
    # What had the worker already came first, and one whose turn it was.
    assert pool.counters.slow - before == 2
    outcomes = await asyncio.gather(*many, return_exceptions=True)
    assert all(isinstance(outcome, SchemaRefusedError) for outcome in outcomes)
    assert pool.counters.slow - before == SLOW


async def test_a_slow_schema_has_its_time_at_once_while_another_worker_is_free() -> None:
    limits = SchemaLimits(quick_seconds=0.05, probe_wall_seconds=120.0)
    pool = WorkerPool(None, limits, NarrowingBounds(), workers=2)
    await pool.start()
    with pytest.raises(SchemaRefusedError) as refused:
        await pool.analyse(slow(0))
    assert refused.value.metadata["limit"] == "probe_seconds"
    assert pool.counters.slow == 0
    # The second has the last worker, and only the first of its time there.
    outcomes = await asyncio.gather(
        pool.analyse(slow(1)), pool.analyse(slow(2)), return_exceptions=True
    )
    assert all(isinstance(outcome, SchemaRefusedError) for outcome in outcomes)
    assert pool.counters.slow == 1
    await pool.close()


async def test_whoever_waits_too_long_is_told_to_come_again() -> None:
    limits = SchemaLimits(probe_wall_seconds=0.5, quick_seconds=0.01, probe_seconds=0.4)
    pool = WorkerPool(None, limits, NarrowingBounds(), workers=1)
    await pool.start()
    outcomes = await asyncio.gather(
        *(pool.analyse(slow(number)) for number in range(SLOW)), return_exceptions=True
    )
    await pool.close()
    late = [outcome for outcome in outcomes if isinstance(outcome, GenirError)]
    assert late
    assert {error.reason for error in late} == {Reason.OVERLOADED}
    assert all(error.retry_after for error in late)


async def test_one_bound_holds_for_both_waits_and_both_workers() -> None:
    """A schema that comes late to the worker for slow ones has only what is left of its time."""
    limits = SchemaLimits(probe_wall_seconds=3.0, quick_seconds=0.02)
    pool = WorkerPool(None, limits, NarrowingBounds(), workers=1)
    await pool.start()
    quick, slow_one = await pool._quick.get(""), await pool._slow.get("")
    loop = asyncio.get_running_loop()
    # One worker comes free when half of the time is over, the other never.
    loop.call_later(1.5, pool._quick.put, quick)
    start = loop.time()
    with pytest.raises(GenirError) as caught:
        await pool.analyse(slow(0))
    seconds = loop.time() - start
    pool._slow.put(slow_one)
    await pool.close()
    assert caught.value.reason is Reason.OVERLOADED
    assert pool.counters.slow == 1
    # With a bound for each wait, the two would take more than 4.5.
    assert 2.9 < seconds < 4.0


def exhausts_memory() -> bytes:
    return bytes(1 << 30)


def exhausts_time() -> bytes:
    while True:
        pass


def crashes() -> bytes:
    raise RecursionError


def sleeps() -> bytes:
    time.sleep(60)
    return b""


async def test_a_worker_that_is_gone_is_replaced(pool: WorkerPool) -> None:
    (victim,) = [worker for worker in pool._all if worker not in pool._slow._free]
    victim.kill()
    await victim.wait()
    with pytest.raises(GenirError) as caught:
        await pool.analyse('{"title": "lost"}')
    assert caught.value.reason is Reason.OVERLOADED
    assert await pool.analyse('{"title": "found"}')
    assert pool.counters.replaced == 1


def test_workers_are_started_without_the_handlers_that_others_have_on_forks() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["0", "True"]


def test_what_a_killed_worker_leaves_behind_is_waited_for() -> None:
    ran = subprocess.run([sys.executable, "-c", HEIR], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["-9", "1", "[]"]


async def test_a_worker_that_does_not_start_says_why() -> None:
    pool = WorkerPool("no-such-folder", SchemaLimits(), NarrowingBounds(), workers=1)
    with pytest.raises(RuntimeError, match=r"a schema worker did not start: [^$]*no-such-folder"):
        await pool.start()
    await pool.close()


def test_every_death_is_refused_with_the_bound() -> None:
    limits = SchemaLimits(probe_seconds=0.5, probe_bytes=1 << 20)
    pool = WorkerPool(None, limits, NarrowingBounds(), workers=1)
    told = {}
    for death in (Death.TIME, Death.MEMORY, Death.CRASH):
        refusal = pool._refusal(death)
        assert isinstance(refusal, SchemaRefusedError)
        assert refusal.reason is Reason.SCHEMA_TOO_COMPLEX
        assert refusal.metadata["max"] in refusal.message
        told[death] = refusal.metadata
    assert told == {
        Death.TIME: {
            "pointer": "",
            "limit": "probe_seconds",
            "max": "0.5",
            "value": "more than 0.5",
        },
        Death.MEMORY: {
            "pointer": "",
            "limit": "probe_bytes",
            "max": "1048576",
            "value": "more than 1048576",
        },
        # Nobody knows what it took, and more stack than memory there is not.
        Death.CRASH: {"pointer": "", "limit": "worker", "max": "1048576"},
    }


class Deep:
    def analyse(self, text: str, tightening: Tightening) -> NoReturn:
        raise RecursionError(text, tightening)


def test_recursion_without_end_is_refused_with_the_bound() -> None:
    reply = json.loads(worker._analysis(cast("Analyser", Deep()), b"0\n{}"))
    most = str(sys.getrecursionlimit())
    assert reply["reason"] == "SCHEMA_TOO_COMPLEX"
    assert reply["metadata"] == {
        "pointer": "",
        "limit": "recursion",
        "max": most,
        "value": f"more than {most}",
    }


def test_a_child_that_dies_says_of_what() -> None:
    works: dict[bytes, Callable[[], bytes]] = {
        b"memory": exhausts_memory,
        b"time": exhausts_time,
        b"crash": crashes,
        b"wait": sleeps,
        b"large": lambda: b"x" * 1_000_000,
    }
    children = Children(lambda question: works[question](), memory=1 << 28)
    for death in (Death.MEMORY, Death.TIME, Death.CRASH):
        outcome = children.ask(death.value.encode(), seconds=0.3, wall_seconds=60.0)
        assert (outcome.death, outcome.body) == (death, b"")
    late = children.ask(b"wait", seconds=5.0, wall_seconds=0.1)
    assert (late.death, late.body) == (Death.WAIT, b"")
    large = children.ask(b"large", seconds=5.0, wall_seconds=60.0)
    assert (large.death, len(large.body)) == (None, 1_000_000)
    children.close()


def test_a_child_that_stands_by_has_rehearsed_and_keeps_its_limits() -> None:
    rehearsed: list[int] = []

    def work(question: bytes) -> bytes:
        if question == b"time":
            exhausts_time()
        return question * len(rehearsed)

    children = Children(
        work, memory=1 << 28, rehearse=lambda: rehearsed.append(1), idle_seconds=0.0
    )
    children.stand_by()
    # Longer than a pipe holds.
    question = b"q" * 300_000
    time.sleep(0.2)
    assert children.ask(question, seconds=5.0, wall_seconds=60.0).body == question
    children.stand_by()
    time.sleep(0.2)
    assert children.ask(b"time", seconds=0.2, wall_seconds=60.0).death is Death.TIME
    assert not rehearsed
    children.close()


def test_a_rehearsal_that_fails_is_nothing_against_the_question() -> None:
    children = Children(bytes, memory=1 << 28, rehearse=crashes, idle_seconds=0.0)
    children.stand_by()
    time.sleep(0.2)
    outcome = children.ask(b"asked", seconds=5.0, wall_seconds=60.0)
    assert (outcome.death, outcome.body) == (None, b"asked")
    children.close()


def test_a_child_that_does_not_listen_is_given_up_in_time() -> None:
    children = Children(bytes, memory=1 << 28)
    children.stand_by()
    assert children._spare is not None
    os.kill(children._spare._pid, signal.SIGSTOP)
    # Longer than a pipe holds.
    began = time.monotonic()
    outcome = children.ask(b"q" * 300_000, seconds=5.0, wall_seconds=0.2)
    assert outcome.death is Death.WAIT
    assert time.monotonic() - began < 10
    assert children.ask(b"asked", seconds=5.0, wall_seconds=60.0).body == b"asked"
    children.close()


def test_nothing_is_left_of_children_when_they_are_closed() -> None:
    before = open_files()
    children = Children(bytes, memory=1 << 28)
    children.stand_by()
    children.ask(b"asked", seconds=5.0, wall_seconds=60.0)
    children.stand_by()
    assert children._spare is not None
    spare = children._spare._pid
    children.close()
    assert open_files() == before
    assert not psutil.pid_exists(spare)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_worker_that_cannot_be_started_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = open_files()
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            await WorkerProcess.start()
    assert open_files() == before


def test_a_child_that_is_lost_while_it_stands_by_is_replaced() -> None:
    children = Children(bytes, memory=1 << 28)
    children.stand_by()
    assert children._spare is not None
    os.kill(children._spare._pid, signal.SIGKILL)
    time.sleep(0.2)
    assert children.ask(b"asked", seconds=5.0, wall_seconds=60.0).body == b"asked"
    children.close()
