"""The process of `genir node`: exit codes, signals, and what it does not start with."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from genir_server.command import EXIT_ENGINE, EXIT_ENGINE_LOST, EXIT_OK
from genir_server.engine.config import EngineConfig
from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.node import NodeLostError
from genir_server.node import NodeSettings, serve_node
from genir_server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

CONFIG = EngineConfig()


@pytest.fixture(autouse=True)
def usual_signals() -> Iterator[None]:
    """Puts back what the process does with signals, which a node changes."""
    numbers = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)


def served(run: Callable[[EngineConfig], Awaitable[None]]) -> int:
    """The exit code; what is left of the engine is ended once."""
    ended: list[bool] = []
    code = asyncio.run(serve_node(CONFIG, run, lambda: ended.append(True)))
    assert ended == [True]
    return code


def raises(error: Exception) -> int:
    async def run(_: EngineConfig) -> None:
        raise error

    return served(run)


def test_failed_start_and_loss_have_the_exit_codes_of_the_server() -> None:
    assert raises(EngineStartError("no such model")) == EXIT_ENGINE
    assert raises(NodeLostError("a worker of this node has ended")) == EXIT_ENGINE_LOST


def test_unexpected_failure_ends_what_is_left_of_the_engine() -> None:
    assert raises(OSError("of another kind")) == EXIT_ENGINE_LOST


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_a_node_that_loads(number: signal.Signals) -> None:
    async def run(_: EngineConfig) -> None:
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()

    assert served(run) == EXIT_OK


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_other_signals_do_not_end_it(number: signal.Signals) -> None:
    async def run(_: EngineConfig) -> None:
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.1)
        raise NodeLostError("later")

    assert served(run) == EXIT_ENGINE_LOST


def test_settings_are_those_of_the_server() -> None:
    assert NodeSettings.model_fields.keys() == ServerSettings.model_fields.keys()
    assert NodeSettings.model_config["env_prefix"] == "GENIR_"


@pytest.mark.parametrize(("argument", "said"), [("--port=x", "port: "), ("--no-such", "--no-such")])
def test_invalid_settings_end_with_2(argument: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "genir.cli", "node", argument],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "genir node" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
