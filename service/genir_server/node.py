"""The process of `genir node`: a peer, on another node, of the engine of a server.

It takes the settings of `genir serve`, opens no port, and runs until a signal or the end of one of
its engine processes. It does not restart them: the server's engine is lost with them, so whatever
starts the nodes starts all of them again.

Exit codes: 0 after SIGTERM or SIGINT, 2 for invalid settings, 4 when this node's part of the engine
could not start, and 5 when it was lost.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
import uvloop
from pydantic_settings import SettingsConfigDict

from genir_server.command import (
    EXIT_ENGINE,
    EXIT_ENGINE_LOST,
    EXIT_OK,
    EXIT_SETTINGS,
    complain,
    engine_config,
    exit_process,
    read_settings,
)
from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.node import NodeLostError, end_processes, run_node
from genir_server.engine.vllm.start import check_vllm_engine
from genir_server.settings import ServerSettings
from genir_server.supervision.signals import handle_signals, ignore_until_handled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from genir_server.engine.config import EngineConfig

_COMMAND = "genir node"

log = structlog.get_logger("genir.node")


class NodeSettings(ServerSettings):
    """Run this node's part of a model that spans several nodes.

    It takes the settings of the server. Those of ports, callers and limits have no effect here.
    """

    model_config = SettingsConfigDict(cli_prog_name=_COMMAND)


def main(argv: Sequence[str]) -> int:
    """Runs a node until it is stopped or fails; returns the exit code.

    Args:
        argv: the command line after ``genir node``.
    """
    ignore_until_handled()
    settings = read_settings(_COMMAND, argv, NodeSettings)
    if settings is None:
        return EXIT_SETTINGS
    config = engine_config(settings)
    code = uvloop.run(_check(config) if settings.check else serve_node(config))
    exit_process(code)
    return code


async def serve_node(
    config: EngineConfig,
    run: Callable[[EngineConfig], Awaitable[None]] = run_node,
    end: Callable[[], None] = end_processes,
) -> int:
    """Runs this node's part of the engine until a signal or its end; returns the exit code.

    Args:
        config: the operator's choices.
        run: starts the part and waits for its end.
        end: ends what is left of it.
    """
    stop = asyncio.Event()
    handle_signals(
        stop=lambda _: stop.set(),
        # A node reads no certificates and has no readiness.
        reload=lambda: None,
        toggle_readiness=lambda: None,
    )
    running = asyncio.ensure_future(run(config))
    stopping = asyncio.create_task(stop.wait(), name="wait-for-stop")
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    code = EXIT_OK
    if not stop.is_set():
        try:
            await running
        except EngineStartError as error:
            log.error("cannot start", detail=str(error))  # noqa: TRY400 - one line, no traceback.
            code = EXIT_ENGINE
        except NodeLostError as error:
            log.error("cannot go on", detail=str(error))  # noqa: TRY400
            code = EXIT_ENGINE_LOST
        except Exception:  # The last place: what is left of the engine has to end.
            log.exception("cannot go on")
            code = EXIT_ENGINE_LOST
    running.cancel()
    stopping.cancel()
    await asyncio.wait((running,))
    if not running.cancelled():
        # Its error has been dealt with, or no longer matters.
        running.exception()
    await asyncio.to_thread(end)
    log.info("stopped", exit_code=code)
    return code


async def _check(config: EngineConfig) -> int:
    try:
        found = await check_vllm_engine(replace(config, headless=True))
    except EngineStartError as error:
        complain(_COMMAND, str(error))
        return EXIT_ENGINE
    for about, text in found.items():
        print(f"{about}: {text}")  # noqa: T201 - what the user has asked for.
    return EXIT_OK
