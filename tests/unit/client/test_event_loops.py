"""Clients in a second event loop, and in a process that was forked after the first call."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest

from genir import AsyncIRClient

if TYPE_CHECKING:
    from tests.support.contract_server import ContractServer


def in_a_thread(work: object) -> object:
    """The result of `asyncio.run` in a new thread, which has no event loop."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(work))  # type: ignore[arg-type]
        except RuntimeError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    return outcome[0]


def test_client_works_in_one_event_loop_after_another(server: ContractServer) -> None:
    client = AsyncIRClient(server.target)

    async def call() -> object:
        return (await client.generate("hello")).value

    async def call_and_close() -> object:
        async with client:
            return (await client.generate("hello")).value

    assert in_a_thread(call()) == {"a": 1}
    assert in_a_thread(call()) == {"a": 1}
    assert in_a_thread(call_and_close()) == {"a": 1}


async def test_second_event_loop_beside_the_first_is_refused(server: ContractServer) -> None:
    async with AsyncIRClient(server.target) as client:
        await client.generate("hello")

        async def call() -> object:
            return await client.generate("hello")

        error = await asyncio.to_thread(in_a_thread, call())
        assert isinstance(error, RuntimeError)
        assert "another event loop" in str(error)
        assert (await client.generate("hello")).ir_json == '{"a":1}'


FORK = """
    import asyncio, os, sys
    from genir import AsyncIRClient, IRClient

    def fork(call, expected):
        child = os.fork()
        if child == 0:
            code = 8
            try:
                call()
                code = 0
            except RuntimeError as error:
                os.write(1, f"{error}\\n".encode())
                code = 7
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == expected
"""
BLOCKING = """
    client = IRClient(sys.argv[1])
    client.generate("hello")
    fork(lambda: client.generate("hello"), 0)
    client.generate("hello")
    client.close()
"""
ASYNCIO = """
    client = AsyncIRClient(sys.argv[1])
    asyncio.run(client.generate("hello"))

    async def again():
        async with client:
            await client.generate("hello")

    fork(lambda: asyncio.run(again()), 7)
    fork(lambda: asyncio.run(AsyncIRClient(sys.argv[1]).generate("hello")), 7)
    asyncio.run(client.generate("hello"))
"""
BLOCKING_IN_THE_CHILD = """
    asyncio.run(AsyncIRClient(sys.argv[1]).generate("hello"))
    fork(lambda: IRClient(sys.argv[1]).generate("hello"), 7)
"""
ASYNCIO_IN_THE_CHILD = """
    IRClient(sys.argv[1]).generate("hello")
    fork(lambda: asyncio.run(AsyncIRClient(sys.argv[1]).generate("hello")), 7)
"""


@pytest.mark.parametrize(
    ("program", "refusals"),
    [(BLOCKING, 0), (ASYNCIO, 2), (BLOCKING_IN_THE_CHILD, 1), (ASYNCIO_IN_THE_CHILD, 1)],
)
def test_client_in_a_forked_process_works_or_says_why_not(
    server: ContractServer, program: str, refusals: int
) -> None:
    source = textwrap.dedent(FORK) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", source, server.target],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("not work in a process that was forked") == refusals
    assert "Traceback" not in done.stderr
