"""The server process: opens the port, loads the engine behind it, drains, exits.

Exit codes: 0 stopped as asked, 2 bad settings, 3 the address cannot be listened on, 4 the engine
could not start, 5 the engine was lost and is not started again, 128 and the signal's number when a
second signal cut the drain short.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import structlog
import uvloop
from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from genir_server.admission import Admission
from genir_server.auth.access import Access
from genir_server.auth.reloading import ReloadError
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.limits import RequestLimits
from genir_server.engine.config import EngineConfig
from genir_server.engine.cpu_fork.fork_server import stop_fork_server
from genir_server.observability.logging import configure_logging
from genir_server.observability.observation import Observation
from genir_server.settings import ServerSettings
from genir_server.supervision.engine_supervisor import (
    EngineLostError,
    EngineSupervisor,
    StartFailedError,
)
from genir_server.supervision.lifecycle import Lifecycle, Phase
from genir_server.supervision.startup import BringUp, start_vllm
from genir_server.transport.interceptor import CallInterceptor
from genir_server.transport.server import (
    BindError,
    StandardHealth,
    bind,
    build_health_server,
    build_server,
    start,
)
from genir_server.transport.servicer import IRServicer

if TYPE_CHECKING:
    from genir_server.supervision.startup import EngineStarter

EXIT_OK = 0
EXIT_SETTINGS = 2
EXIT_ADDRESS = 3
EXIT_ENGINE = 4
EXIT_ENGINE_LOST = 5
EXIT_SIGNAL = 128

_ENGINE_SHUTDOWN_SECONDS = 15.0
_LOST_CALL_SECONDS = 0.5
_TRANSPORT_GRACE_SECONDS = 0.5
_GENERATING = frozenset({"GenerateIR", "StreamIR"})

log = structlog.get_logger("genir.server")


def run(argv: list[str], start_engine: EngineStarter = start_vllm) -> int:
    """Runs a server until it is told to stop; gives the exit code."""
    try:
        settings = CliApp.run(ServerSettings, cli_args=argv)
    except ValidationError as fault:
        for error in fault.errors():
            where = "".join(f"{part}: " for part in error["loc"])
            message = error["msg"].removeprefix("Value error, ")
            print(f"genir serve: {where}{message}", file=sys.stderr)  # noqa: T201
        return EXIT_SETTINGS
    except SettingsError as fault:
        print(f"genir serve: {fault}", file=sys.stderr)  # noqa: T201
        return EXIT_SETTINGS
    configure_logging(settings.log_format, settings.log_level)
    try:
        server = ServerProcess(settings, start_engine)
    except (SettingsError, ReloadError) as fault:
        print(f"genir serve: {fault}", file=sys.stderr)  # noqa: T201
        return EXIT_SETTINGS
    code = uvloop.run(server.run())
    _leave(code)
    return code


def _leave(code: int) -> None:
    """Ends the process at once, and what would outlive it for a while."""
    stop_fork_server()
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread that still loads a model cannot be told to stop and would keep the process alive.
    os._exit(code)


class ServerProcess:
    """One server from its port to its exit.

    Args:
        settings: what the operator set.
        start_engine: starts an engine.

    Raises:
        ReloadError: the files of certificates or callers cannot be used.
        SettingsError: traces are wanted, and the packages for them are not installed.
    """

    def __init__(self, settings: ServerSettings, start_engine: EngineStarter = start_vllm) -> None:
        self._settings = settings
        self._lifecycle = Lifecycle()
        self._admission = Admission(settings.admission_limits())
        self._access = Access(settings)
        self._limits = RequestLimits(max_input_bytes=settings.max_input_bytes)
        self._stop = asyncio.Event()
        self._config = EngineConfig(
            model=settings.model,
            served_model_name=settings.served_model_name,
            structured_output_backend=settings.structured_output_backend,
            jump_forward=settings.jump_forward,
            prompt_lookup=settings.prompt_lookup,
            fork_engine=settings.fork_engine,
            max_model_len=settings.max_model_len,
            lora_adapters=settings.lora_adapters,
            engine_args=settings.engine_args,
            configure_process_logging=functools.partial(
                configure_logging, settings.log_format, settings.log_level
            ),
        )
        self._observation = Observation(settings, self._config, self._lifecycle, self._admission)
        self._calls = CallInterceptor(
            settings.default_deadline,
            self._access.authentication,
            slow_reader_timeout=settings.slow_reader_timeout,
            message_timeout=settings.message_timeout,
            observers=self._observation.observers,
            log_content=settings.log_content,
        )
        self._bring_up = BringUp(
            settings,
            self._config,
            self._limits,
            self._lifecycle,
            self._admission,
            metrics=self._observation.metrics,
            start_engine=start_engine,
        )
        self._supervisor = EngineSupervisor(
            self._lifecycle, self._bring_up, settings.restart_policy(), self._end_lost_calls
        )

    async def run(self) -> int:
        """Serves until a signal says stop; gives the exit code."""
        health = StandardHealth(self._lifecycle)
        servicer = IRServicer(
            self._lifecycle,
            self._admission,
            model=self._config.model_name,
            configured_backend=self._config.structured_output_backend,
            limits=self._limits,
            tokens_per_delta=self._settings.tokens_per_delta,
        )
        server = build_server(self._settings, servicer, health, self._calls)
        await health.start()
        host = self._settings.host
        servers = [server]
        try:
            port = bind(server, host, self._settings.port, self._access.credentials)
            if self._settings.health_port is not None:
                probed = build_health_server(self._settings, health)
                health_port = bind(probed, host, self._settings.health_port)
                servers.append(probed)
                await probed.start()
                log.info("listening for health", host=host, port=health_port)
            self._observation.open_port()
        except BindError as fault:
            log.error("cannot start", detail=str(fault))  # noqa: TRY400 - one line, no traceback.
            return EXIT_ADDRESS
        self._listen_to_signals()
        await start(server, servicer, self._calls)
        if self._settings.port_file is not None:
            self._settings.port_file.write_text(f"{port}\n")
        self._access.start()
        log.info(
            "listening",
            host=host,
            port=port,
            tls=self._settings.tls_cert is not None,
            authentication=self._access.authentication.on,
        )

        supervising = asyncio.create_task(self._supervisor.run(), name="supervise-engine")
        stopping = asyncio.create_task(self._stop.wait(), name="wait-for-stop")
        await asyncio.wait((supervising, stopping), return_when=asyncio.FIRST_COMPLETED)
        code = EXIT_OK
        if self._stop.is_set():
            await self._be_lame_duck()
        else:
            code = _exit_code(supervising)
        await self._drain()
        supervising.cancel()
        await asyncio.wait((supervising,), timeout=_TRANSPORT_GRACE_SECONDS)
        await health.stop()
        self._access.stop()
        await asyncio.gather(*(each.stop(_TRANSPORT_GRACE_SECONDS) for each in servers))
        await self._close()
        await self._observation.close()
        log.info("stopped", exit_code=code)
        return code

    async def _be_lame_duck(self) -> None:
        """Goes on answering with readiness off, so that load balancers notice before the drain."""
        if self._settings.lame_duck and self._lifecycle.ready:
            log.info("readiness is off", seconds=self._settings.lame_duck)
            self._lifecycle.set_lame_duck(on=True)
            await asyncio.sleep(self._settings.lame_duck)

    def _end_lost_calls(self) -> None:
        """Ends what a lost engine leaves behind and what does not notice by itself.

        Calls that wait for the engine's next token hear of its death at once. One whose schema is
        still being compiled, or whose caller does not read, would hear of it later.
        """
        lost_at = time.monotonic()
        self._admission.fail_waiting(
            Reason.ENGINE_DEAD, "the engine died while this request waited for its turn"
        )

        def cut_off() -> None:
            failure = GenirError(
                Reason.ENGINE_DEAD, "the engine died while this request was under way"
            )
            cut_off = self._calls.cut_off(failure, _GENERATING, began_before=lost_at)
            if cut_off:
                log.warning("calls cut off", calls=cut_off)

        asyncio.get_running_loop().call_later(_LOST_CALL_SECONDS, cut_off)

    async def _drain(self) -> None:
        self._lifecycle.enter(Phase.DRAINING, "Calls in flight finish; new ones are refused.")
        in_flight = self._admission.in_flight
        log.info("draining", in_flight=in_flight, timeout=self._settings.drain_timeout)
        if not await self._admission.wait_idle(self._settings.drain_timeout):
            cut_off = self._calls.cut_off(
                GenirError(
                    Reason.DRAINING,
                    f"the server stopped, and the call did not finish in the "
                    f"{self._settings.drain_timeout:g} s that were left: call another one",
                )
            )
            log.warning("drain timed out", calls_cut_off=cut_off)
            await self._admission.wait_idle(_TRANSPORT_GRACE_SECONDS)

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(_ENGINE_SHUTDOWN_SECONDS):
                await self._bring_up.close()
        except TimeoutError:
            log.warning("the engine did not stop in time")

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGUSR1, self._toggle_lame_duck)

    def _toggle_lame_duck(self) -> None:
        on = not self._lifecycle.lame_duck
        log.info("readiness is off" if on else "readiness follows the phase again")
        self._lifecycle.set_lame_duck(on=on)

    def _on_signal(self, name: str) -> None:
        if self._stop.is_set():
            log.warning("stopping at once", signal=name)
            _leave(EXIT_SIGNAL + signal.Signals[name])
        log.info("stopping", signal=name)
        self._stop.set()


def _exit_code(supervising: asyncio.Task[None]) -> int:
    """The exit code of a server whose engine is gone for good."""
    try:
        supervising.result()
    except StartFailedError as fault:
        log.error("cannot start", detail=str(fault))  # noqa: TRY400 - one line, no traceback.
        return EXIT_ENGINE
    except EngineLostError as fault:
        log.error("cannot go on", detail=str(fault))  # noqa: TRY400
        return EXIT_ENGINE_LOST
    raise AssertionError("the supervisor of a server that does not stop ends with an error")
