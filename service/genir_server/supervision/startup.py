"""What happens between a started process and a generator that has proved itself.

The engine is started, the caller's schemas get their workers, and one constrained generation goes
the whole way. The schema workers are made once and outlive the engine.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

import structlog

from genir.schemas import builtin_ir_schema_text
from genir_server.core.generate import IRGenerator
from genir_server.core.schema_check import SchemaChecker
from genir_server.core.self_test import SelfTest
from genir_server.domain.errors import GenirError
from genir_server.engine.protocol import EngineStartError
from genir_server.schema.limits import NarrowingBounds
from genir_server.schema.preparer import Preparer
from genir_server.supervision.lifecycle import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from genir_server.admission import Admission
    from genir_server.domain.limits import RequestLimits
    from genir_server.engine.config import EngineConfig
    from genir_server.engine.protocol import Engine
    from genir_server.observability.metrics import Metrics
    from genir_server.settings import ServerSettings
    from genir_server.supervision.lifecycle import Lifecycle

    EngineStarter = Callable[[EngineConfig], Awaitable[Engine]]

_BUSY_ATTEMPTS = 4
_T = TypeVar("_T")

log = structlog.get_logger("genir.engine")


async def start_vllm(config: EngineConfig) -> Engine:
    """Starts the engine that a server has unless it is built with another."""
    # Imported late: the port opens at once, and vLLM's imports alone take seconds.
    from genir_server.engine.vllm.start import start_vllm_engine

    return await start_vllm_engine(config)


class BringUp:
    """Starts and ends engines, one at a time; an `engine_supervisor.EngineBringUp`.

    Args:
        settings: what the operator set.
        config: the engine to start.
        limits: bounds on one request.
        lifecycle: gets the generator and the self-test of each engine.
        admission: is told how much each engine takes.
        metrics: counts the schemas.
        start_engine: starts an engine.
    """

    def __init__(
        self,
        settings: ServerSettings,
        config: EngineConfig,
        limits: RequestLimits,
        lifecycle: Lifecycle,
        admission: Admission,
        *,
        metrics: Metrics,
        start_engine: EngineStarter = start_vllm,
    ) -> None:
        self._settings = settings
        self._config = config
        self._limits = limits
        self._lifecycle = lifecycle
        self._admission = admission
        self._metrics = metrics
        self._start_engine = start_engine
        self._schemas: Preparer | None = None
        self.engine: Engine | None = None

    async def start(self, enter: Callable[[Phase, str], None]) -> None:
        """Starts an engine, has it prove itself, and puts it in service.

        Raises:
            EngineStartError: with one line for an operator.
            GenirError: the engine's first generation failed.
        """
        began = time.monotonic()
        engine = await self._start_engine(self._config)
        self.engine = engine
        self._admission.size_to(self._settings.admission_limits().sized_to(engine.info))
        if self._schemas is None:
            self._schemas = self._preparer(engine)
            self._metrics.state.schemas = self._schemas
            await self._schemas.start()
        schemas = self._schemas
        builtin = await _patiently(lambda: schemas.prepare(builtin_ir_schema_text()))
        self._lifecycle.schema_checker = SchemaChecker(
            schemas, builtin, engine, concurrency=self._settings.schema_workers - 1
        )
        generator = IRGenerator(engine, schemas, builtin, self._limits)
        self_test = SelfTest(generator)
        self._lifecycle.attach(generator, self_test)
        enter(Phase.WARMING_UP, "The engine is up and runs its first constrained generation.")
        canary = await _patiently(self_test.canary)
        prove_backend(engine)
        log.info(
            "ready",
            seconds=round(time.monotonic() - began, 1),
            model=engine.info.model,
            backend=engine.effective_backend,
            canary_seconds=round(canary.elapsed, 2),
            max_model_len=engine.info.max_model_len,
        )

    async def end(self) -> None:
        """Takes the engine out of service and ends it."""
        self._lifecycle.detach()
        engine, self.engine = self.engine, None
        if engine is not None:
            await engine.shutdown()

    async def close(self) -> None:
        """Ends everything: the schema workers and the engine."""
        if self._schemas is not None:
            await self._schemas.close()
        await self.end()

    def _preparer(self, engine: Engine) -> Preparer:
        return Preparer(
            engine.info.tokenizer_source or None,
            self._settings.limits_on_schemas(),
            bounds=NarrowingBounds(enabled=self._settings.bound_output),
            # With "auto", vLLM holds every schema to the backend that it chose for the first.
            for_xgrammar=engine.info.configured_backend != "guidance",
            workers=self._settings.schema_workers,
            cache_bytes=self._settings.schema_cache_bytes,
            on_prepared=self._metrics.schema_prepared,
        )


async def _patiently(action: Callable[[], Awaitable[_T]]) -> _T:
    """Does something again that failed because the machine was busy: many servers start at once."""
    for _ in range(_BUSY_ATTEMPTS - 1):
        try:
            return await action()
        except GenirError as fault:
            if fault.retry_after is None:
                raise
            log.warning("busy while starting", detail=fault.message)
            await asyncio.sleep(fault.retry_after)
    return await action()


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
