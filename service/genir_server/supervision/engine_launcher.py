"""Starts an engine, tests it with one constrained generation, and puts it into service.

The worker processes for schemas and values are started with the first engine and outlive it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from genir.schemas import builtin_ir_schema_text
from genir_server.core.generate import IRGenerator
from genir_server.core.isolated_verification import IsolatedVerification
from genir_server.core.schema_check import SchemaChecker
from genir_server.core.self_test import SelfTest
from genir_server.core.verify import Verification
from genir_server.domain.errors import GenirError
from genir_server.engine.protocol import EngineStartError, LoadStage
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.preparer import DEFAULT_CACHE_BYTES, Preparer
from genir_server.supervision.lifecycle import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from genir_server.admission import Admission
    from genir_server.domain.grammar_tokenizer import GrammarTokenizer
    from genir_server.domain.limits import RequestLimits
    from genir_server.engine.config import EngineConfig
    from genir_server.engine.protocol import Engine, LoadProgress
    from genir_server.supervision.lifecycle import Lifecycle

    Planned = Callable[[GrammarTokenizer | None], Awaitable[None]]
    EngineStarter = Callable[[EngineConfig, Planned], Awaitable[Engine]]

_MAX_TRIES_WHILE_BUSY = 4
_LOG_INTERVAL_SECONDS = 10.0
_DOING = {
    LoadStage.WEIGHTS: "loads the weights",
    LoadStage.COMPILATION: "compiles the model",
    LoadStage.GRAPHS: "captures graphs",
}
_T = TypeVar("_T")

log = structlog.get_logger("genir.engine")


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """How schemas are prepared.

    Attributes:
        limits: limits on callers' schemas.
        bound_output: whether to bound values that a schema leaves unbounded.
        workers: worker processes, 1 and up.
        cache_bytes: maximum size of the schema cache.
    """

    limits: SchemaLimits = field(default_factory=SchemaLimits)
    bound_output: bool = True
    workers: int = 2
    cache_bytes: int = DEFAULT_CACHE_BYTES


class SchemaObserver(Protocol):
    """Reports on the preparation of schemas."""

    def schema_prepared(self, seconds: float, compile_seconds: float) -> None:
        """Called after an uncached schema is prepared, with total and compile CPU seconds."""

    def preparer_started(self, preparer: Preparer) -> None:
        """Called once, before the first schema. The preparer holds the counters."""


async def start_vllm(config: EngineConfig, planned: Planned) -> Engine:
    """Starts vLLM, the default engine.

    Args:
        config: the operator's choices.
        planned: called with the model's tokenizer before the model is loaded; None for one of
            single bytes.

    """
    # Imported late: the port opens first, and importing vLLM takes seconds.
    from genir_server.engine.vllm.start import start_vllm_engine

    return await start_vllm_engine(config, planned)


async def check_vllm(config: EngineConfig, planned: Planned) -> dict[str, str]:
    """Runs the checks of `start_vllm` without loading the model.

    Args:
        config: the operator's choices.
        planned: called with the model's tokenizer.

    Returns:
        What was found, by what it is about.

    """
    from genir_server.engine.vllm.start import check_vllm_engine

    return await check_vllm_engine(config, planned)


class EngineLauncher:
    """Starts and ends engines, one at a time; an `engine_supervisor.Launcher`.

    Args:
        config: the engine to start.
        schema_options: how schemas are prepared.
        limits: limits on one request.
        lifecycle: receives each engine's generator, self-test and schema checker.
        admission: its unset limits follow each engine's capacity.
        schema_observer: receives counts and durations of schema preparation; may be None.
        start_engine: starts an engine.
    """

    def __init__(
        self,
        config: EngineConfig,
        schema_options: SchemaOptions,
        limits: RequestLimits,
        lifecycle: Lifecycle,
        admission: Admission,
        *,
        schema_observer: SchemaObserver | None = None,
        start_engine: EngineStarter = start_vllm,
    ) -> None:
        self._config = config
        self._schema_options = schema_options
        self._limits = limits
        self._lifecycle = lifecycle
        self._admission = admission
        self._schema_observer = schema_observer
        self._start_engine = start_engine
        self._preparer: Preparer | None = None
        self._isolated_verification = IsolatedVerification()
        self.engine: Engine | None = None

    async def start(self, enter: Callable[[Phase, str], None]) -> None:
        """Starts an engine, tests it, and puts it into service.

        Args:
            enter: called with each phase and a sentence about it.

        Raises:
            EngineStartError: with one line for the operator.
            GenirError: the engine's first generation failed.
        """
        began = time.monotonic()
        report = _LoadReport(self._lifecycle, enter)
        config = replace(self._config, on_progress=report)
        try:
            engine = await self._start_engine(config, self._start_workers)
        finally:
            self._lifecycle.load_progress = None
        self.engine = engine
        self._admission.fit_to(engine.info)
        preparer = self._preparer
        if preparer is None:
            raise AssertionError("an engine starts after its tokenizer is known")
        builtin = await _retry_while_busy(lambda: preparer.prepare(builtin_ir_schema_text()))
        self._lifecycle.schema_checker = SchemaChecker(
            preparer, builtin, engine, concurrency=self._schema_options.workers - 1
        )
        verification = Verification(self._isolated_verification)
        generator = IRGenerator(engine, preparer, verification, builtin, self._limits)
        self_test = SelfTest(generator)
        self._lifecycle.attach(generator, self_test)
        enter(Phase.WARMING_UP, "The engine has started and runs its first constrained generation.")
        canary = await _retry_while_busy(self_test.first_canary)
        check_backend(engine)
        log.info(
            "ready",
            seconds=round(time.monotonic() - began, 1),
            model=engine.info.model,
            backend=engine.effective_backend,
            canary_seconds=round(canary.elapsed, 2),
            max_model_len=engine.info.max_model_len,
        )

    async def check(self) -> dict[str, str]:
        """Runs the checks of a start without loading the model.

        Returns:
            What was found, by what it is about.

        Raises:
            EngineStartError: the engine could not start; one line says what to change.
        """
        return await check_vllm(self._config, self._start_workers)

    async def end(self) -> None:
        """Takes the engine out of service and ends it."""
        self._lifecycle.detach()
        engine = self.engine
        if engine is None:
            return
        await engine.shutdown()
        # Not before: whoever ends the server while a lost engine ends waits for it here, too.
        if self.engine is engine:
            self.engine = None

    async def close(self) -> None:
        """Ends the worker processes and the engine."""
        if self._preparer is not None:
            await self._preparer.close()
        await self._isolated_verification.close()
        await self.end()

    async def _start_workers(self, tokenizer: GrammarTokenizer | None) -> None:
        """Starts the worker processes with the first engine.

        Before the engine loads its model: workers show whether they can use its tokenizer.

        Raises:
            EngineStartError: they cannot.
        """
        if self._preparer is not None:
            return
        # Known to `close` from here on, which may come before the workers have started.
        self._preparer = preparer = self.make_preparer(tokenizer)
        try:
            await preparer.start()
            await self._isolated_verification.start()
        except BaseException as fault:
            self._preparer = None
            await preparer.close()
            if not isinstance(fault, RuntimeError):
                raise
            raise EngineStartError(
                "the worker processes cannot start with the model's tokenizer: "
                + str(fault).rstrip().rpartition("\n")[2]
            ) from fault
        if self._schema_observer is not None:
            self._schema_observer.preparer_started(preparer)

    def make_preparer(self, tokenizer: GrammarTokenizer | None) -> Preparer:
        """Makes the preparer of schemas for a tokenizer; its workers are not started yet."""
        options, observer = self._schema_options, self._schema_observer
        return Preparer(
            tokenizer,
            options.limits,
            bounds=NarrowingBounds(enabled=options.bound_output),
            # With "auto", vLLM chooses a backend at the first schema and keeps it.
            for_xgrammar=self._config.structured_output_backend != "guidance",
            workers=options.workers,
            cache_bytes=options.cache_bytes,
            on_prepared=None if observer is None else observer.schema_prepared,
        )


class _LoadReport:
    """Shows the progress of one start in the lifecycle, its message and the log."""

    def __init__(self, lifecycle: Lifecycle, enter: Callable[[Phase, str], None]) -> None:
        self._lifecycle = lifecycle
        self._enter = enter
        self._logged: LoadStage | None = None
        self._next_log_at = 0.0

    def __call__(self, progress: LoadProgress) -> None:
        self._lifecycle.load_progress = progress
        self._enter(
            Phase.LOADING_MODEL,
            f"The engine {_DOING[progress.stage]}: {progress.done} of {progress.total} "
            f"{progress.unit}.",
        )
        now = time.monotonic()
        finished = progress.done == progress.total
        if progress.stage is not self._logged or finished or now >= self._next_log_at:
            log.info("loading", **asdict(progress))
            self._logged, self._next_log_at = progress.stage, now + _LOG_INTERVAL_SECONDS


async def _retry_while_busy(action: Callable[[], Awaitable[_T]]) -> _T:
    """Repeats an action that fails because the machine is busy, which is common at a start."""
    for _ in range(_MAX_TRIES_WHILE_BUSY - 1):
        try:
            return await action()
        except GenirError as error:
            if error.retry_after is None:
                raise
            log.warning("busy while starting", detail=error.message)
            await asyncio.sleep(error.retry_after)
    return await action()


def check_backend(engine: Engine) -> None:
    """Refuses an engine of which a rank uses another structured-output backend than configured.

    Raises:
        EngineStartError: the backend in use differs, or is unknown.
    """
    configured, ranks = engine.info.configured_backend, engine.activity().ranks
    for rank in ranks:
        if not rank.backend or configured not in ("auto", rank.backend):
            subject = f"rank {rank.rank} of the engine" if len(ranks) > 1 else "the engine"
            raise EngineStartError(
                f"the structured-output backend {configured} is configured, but {subject} uses "
                f"{rank.backend or 'an unknown one'}"
            )
