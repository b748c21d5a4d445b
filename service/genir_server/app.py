"""The server process: opens the port, loads the engine behind it, drains, exits.

Exit codes: 0 stopped as asked, 2 bad settings, 3 the address cannot be listened on, 4 the engine
could not start, 128 and the signal's number when a second signal cut the drain short.
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

from genir.schemas import builtin_ir_schema_text
from genir_server.admission import Admission
from genir_server.core.errors import GenirError, Reason
from genir_server.core.generate import IRGenerator
from genir_server.core.limits import RequestLimits
from genir_server.core.probes import Probes
from genir_server.core.schemas import SchemaChecker
from genir_server.engine.config import EngineConfig
from genir_server.engine.protocol import EngineStartError
from genir_server.lifecycle import Lifecycle, Phase
from genir_server.logging import configure_logging
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.preparer import Preparer
from genir_server.settings import ServerSettings
from genir_server.transport.calls import CallInterceptor
from genir_server.transport.server import BindError, StandardHealth, bind, build_server
from genir_server.transport.servicer import IRServicer

if TYPE_CHECKING:
    from genir_server.engine.protocol import Engine

EXIT_OK = 0
EXIT_SETTINGS = 2
EXIT_ADDRESS = 3
EXIT_ENGINE = 4
EXIT_SIGNAL = 128

_ENGINE_WATCH_SECONDS = 0.2
_ENGINE_SHUTDOWN_SECONDS = 15.0
_TRANSPORT_GRACE_SECONDS = 0.5

log = structlog.get_logger("genir.server")


def run(argv: list[str]) -> int:
    """Runs a server until it is told to stop; gives the exit code."""
    try:
        settings = CliApp.run(ServerSettings, cli_args=argv)
    except ValidationError as fault:
        for error in fault.errors():
            where = ".".join(str(part) for part in error["loc"])
            print(f"genir serve: {where}: {error['msg']}", file=sys.stderr)  # noqa: T201
        return EXIT_SETTINGS
    except SettingsError as fault:
        print(f"genir serve: {fault}", file=sys.stderr)  # noqa: T201
        return EXIT_SETTINGS
    configure_logging(settings.log_format, settings.log_level)
    code = uvloop.run(ServerProcess(settings).run())
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread that still loads a model cannot be told to stop and would keep the process alive.
    os._exit(code)


class ServerProcess:
    """One server from its port to its exit.

    Args:
        settings: what the operator set.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._lifecycle = Lifecycle()
        self._admission = Admission(settings.max_concurrent_calls)
        self._engine: Engine | None = None
        self._schemas: Preparer | None = None
        self._calls = CallInterceptor(settings.default_deadline)
        self._limits = RequestLimits(
            input_bytes=settings.max_input_bytes, schema_bytes=settings.max_schema_bytes
        )
        self._stop = asyncio.Event()
        self._config = EngineConfig(
            model=settings.model,
            served_model_name=settings.served_model_name,
            structured_output_backend=settings.structured_output_backend,
            jump_forward=settings.jump_forward,
            max_model_len=settings.max_model_len,
            lora_adapters=settings.lora_adapters,
            engine_args=settings.engine_args,
            configure_process_logging=functools.partial(
                configure_logging, settings.log_format, settings.log_level
            ),
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
            log_content=self._settings.log_content,
        )
        server = build_server(self._settings, servicer, health, self._calls)
        await health.start()
        try:
            port = bind(server, self._settings.host, self._settings.port)
        except BindError as fault:
            log.error("cannot start", detail=str(fault))  # noqa: TRY400 - one line, no traceback.
            return EXIT_ADDRESS
        self._listen_to_signals()
        await server.start()
        if self._settings.port_file is not None:
            self._settings.port_file.write_text(f"{port}\n")
        log.info("listening", host=self._settings.host, port=port)

        loading = asyncio.create_task(self._load(), name="load-engine")
        stopping = asyncio.create_task(self._stop.wait(), name="wait-for-stop")
        await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
        code = EXIT_OK
        if not self._stop.is_set():
            code = loading.result()
            if code == EXIT_OK:
                await self._watch_engine()
        await self._drain()
        loading.cancel()
        await asyncio.wait((loading,), timeout=_TRANSPORT_GRACE_SECONDS)
        await health.stop()
        await server.stop(_TRANSPORT_GRACE_SECONDS)
        await self._close()
        log.info("stopped", exit_code=code)
        return code

    async def _load(self) -> int:
        """Brings the engine up and makes the server ready; gives an exit code."""
        began = time.monotonic()
        self._lifecycle.enter(Phase.LOADING_MODEL, "The engine starts and loads the model.")
        try:
            # Imported late: the port opens at once, and vLLM's imports alone take seconds.
            from genir_server.engine.vllm_start import start_vllm_engine

            self._engine = await start_vllm_engine(self._config)
            self._schemas = Preparer(
                self._engine.info.tokenizer_source or None,
                SchemaLimits(schema_bytes=self._settings.max_schema_bytes),
                bounds=NarrowingBounds(enabled=self._settings.bound_output),
                workers=self._settings.schema_workers,
                cache_bytes=self._settings.schema_cache_bytes,
            )
            await self._schemas.start()
            builtin = await self._schemas.prepare(builtin_ir_schema_text())
            self._lifecycle.schema_checker = SchemaChecker(
                self._schemas,
                builtin,
                self._engine,
                self._limits,
                at_once=self._settings.schema_workers - 1,
            )
            probes = Probes(
                IRGenerator(
                    self._engine,
                    self._schemas,
                    builtin,
                    self._limits,
                )
            )
            self._lifecycle.probes = probes
            self._lifecycle.enter(
                Phase.WARMING_UP, "The engine is up and runs its first constrained generation."
            )
            canary = await probes.canary()
            prove_backend(self._engine)
        except EngineStartError as fault:
            return self._failed(str(fault))
        except GenirError as fault:
            return self._failed(f"the first generation failed: {fault.message}")
        except Exception as fault:
            log.exception("the engine could not start")
            return self._failed(f"{type(fault).__name__}: {fault}".splitlines()[0])
        self._lifecycle.enter(Phase.READY, "Generate calls are accepted.")
        log.info(
            "ready",
            seconds=round(time.monotonic() - began, 1),
            model=self._engine.info.model,
            backend=self._engine.effective_backend,
            canary_seconds=round(canary.elapsed, 2),
            max_model_len=self._engine.info.max_model_len,
        )
        return EXIT_OK

    def _failed(self, message: str) -> int:
        self._lifecycle.enter(Phase.FAILED, message)
        log.error("cannot start", detail=message)
        return EXIT_ENGINE

    async def _watch_engine(self) -> None:
        """Waits for the signal to stop; says so when the engine dies before that."""
        while not self._stop.is_set():
            if self._engine is not None and self._engine.dead and not self._lifecycle.stopping:
                log.error("engine died")
                self._lifecycle.enter(Phase.FAILED, "The engine died.")
            try:
                async with asyncio.timeout(_ENGINE_WATCH_SECONDS):
                    await self._stop.wait()
            except TimeoutError:
                continue

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
                if self._schemas is not None:
                    await self._schemas.close()
                if self._engine is not None:
                    await self._engine.shutdown()
        except TimeoutError:
            log.warning("the engine did not stop in time")

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, signal.Signals(number).name)

    def _on_signal(self, name: str) -> None:
        if self._stop.is_set():
            log.warning("stopping at once", signal=name)
            sys.stderr.flush()
            os._exit(EXIT_SIGNAL + signal.Signals[name])
        log.info("stopping", signal=name)
        self._stop.set()


def prove_backend(engine: Engine) -> None:
    """Refuses an engine that constrains decoding with something else than was asked for.

    Raises:
        EngineStartError: the backend in use differs, or the engine did not tell.
    """
    asked, used = engine.info.configured_backend, engine.effective_backend
    if not used or asked not in ("auto", used):
        raise EngineStartError(
            f"the structured-output backend {asked} was asked for, but the engine uses "
            f"{used or 'one that it does not tell'}"
        )
