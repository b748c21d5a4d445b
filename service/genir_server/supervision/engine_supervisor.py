"""Keeps an engine up: starts it, notices its death or standstill, starts another one or gives up.

What is lost with an engine is ended at once, so that callers hear of it within a second; the rest
of the server (port, health, schema workers) goes on. A restart waits a little longer each time, and
there is a budget of restarts: an engine that dies over and over needs a person, or another machine.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from genir_server.domain.errors import GenirError
from genir_server.engine.protocol import EngineStartError
from genir_server.supervision.lifecycle import Phase
from genir_server.supervision.stall import StallWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.engine.protocol import Engine
    from genir_server.supervision.lifecycle import Lifecycle

READY_MESSAGE = "Generate calls are accepted."

_WATCH_SECONDS = 1.0
"""How often a standstill is looked for; a death is not waited for as long."""
_WATCHES_PER_BOUND = 20
_MAX_BACKOFF_SECONDS = 30.0
_SHUTDOWN_SECONDS = 20.0
_MIN_START_SECONDS = 300.0
_START_FACTOR = 10
_SUSPICIOUS_SHARE = 0.25

log = structlog.get_logger("genir.engine")


class EngineBringUp(Protocol):
    """Starts and ends engines, one at a time."""

    @property
    def engine(self) -> Engine | None:
        """The engine that was started last and not yet ended."""
        ...

    async def start(self, enter: Callable[[Phase, str], None]) -> None:
        """Starts an engine, has it prove itself, and puts it in service.

        Raises:
            EngineStartError: with one line for an operator.
            GenirError: the engine's first generation failed.
        """
        ...

    async def end(self) -> None:
        """Takes the engine out of service and ends it."""
        ...


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """What is done when an engine is lost.

    Attributes:
        restarts: restarts within `window`; 0 gives up at once.
        window: seconds.
        stall_timeout: seconds without a sign of life after which an engine counts as lost; 0 never.
        backoff: seconds before the first restart in a row; doubles with each further one.
    """

    restarts: int = 3
    window: float = 600.0
    stall_timeout: float = 60.0
    backoff: float = 1.0


class StartFailedError(Exception):
    """The first engine did not start. The message is for the operator."""


class EngineLostError(Exception):
    """An engine that had run was lost and is not replaced. The message is for the operator."""


class EngineSupervisor:
    """Runs engines, one after the other.

    Args:
        lifecycle: is told every phase.
        bring_up: starts and ends engines.
        policy: what is done when one is lost.
        on_loss: ends the calls that an engine takes with it; called once per loss.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        bring_up: EngineBringUp,
        policy: RestartPolicy,
        on_loss: Callable[[], None],
    ) -> None:
        self._lifecycle = lifecycle
        self._bring_up = bring_up
        self._policy = policy
        self._on_loss = on_loss
        self._restarts: deque[float] = deque()
        self._start_seconds = 0.0

    async def run(self) -> None:
        """Keeps an engine up until it is cancelled, or the server stops and the engine is lost.

        Raises:
            StartFailedError: the first engine did not start.
            EngineLostError: an engine was lost and will not be started again.
        """
        await self._first_start()
        while True:
            loss = await self._watch()
            began = time.monotonic()
            log.error("engine lost", detail=loss, will_restart=self._may_restart())
            # What is left of it may be stopped, or wait for a dead worker.
            if self._bring_up.engine is not None:
                self._bring_up.engine.kill()
            if self._lifecycle.stopping:
                await self._end_lost()
                return
            if not self._may_restart():
                await self._give_up(loss)
            self._lifecycle.expected_ready_at = began + self._start_seconds
            self._lifecycle.enter(Phase.RESTARTING, f"{loss} Another engine is being started.")
            await self._end_lost()
            await self._restart(loss)
            log.info("engine restarted", seconds=round(time.monotonic() - began, 1))

    async def _first_start(self) -> None:
        began = time.monotonic()
        self._lifecycle.enter(Phase.LOADING_MODEL, "The engine starts and loads the model.")
        fault = await self._attempt(self._lifecycle.enter)
        if fault:
            self._lifecycle.enter(Phase.FAILED, fault)
            raise StartFailedError(fault)
        self._start_seconds = time.monotonic() - began
        self._lifecycle.enter(Phase.READY, READY_MESSAGE)

    async def _restart(self, loss: str) -> None:
        """Starts engines until one is up or the budget is spent."""

        def enter(_: Phase, message: str) -> None:
            self._lifecycle.enter(Phase.RESTARTING, f"{loss} {message}")

        while self._may_restart():
            now = time.monotonic()
            pause = min(self._policy.backoff * 2 ** len(self._restarts), _MAX_BACKOFF_SECONDS)
            self._restarts.append(now)
            await asyncio.sleep(pause)
            attempt = asyncio.create_task(self._attempt(enter), name="engine-restart")
            try:
                # Not cancelled when it is late: a start cannot be, only its process can be left.
                done, _ = await asyncio.wait(
                    (attempt,),
                    timeout=max(_MIN_START_SECONDS, _START_FACTOR * self._start_seconds),
                )
            except asyncio.CancelledError:
                attempt.cancel()
                raise
            if not done:
                await self._give_up("The engine's restart hangs.")
            fault = attempt.result()
            if not fault:
                self._lifecycle.enter(Phase.READY, READY_MESSAGE)
                return
            log.error("engine restart failed", detail=fault)
            await self._end_lost()
        await self._give_up(loss)

    async def _attempt(self, enter: Callable[[Phase, str], None]) -> str:
        """Starts an engine; gives what went wrong, or nothing."""
        try:
            await self._bring_up.start(enter)
        except EngineStartError as fault:
            return str(fault)
        except GenirError as fault:
            return f"the first generation failed: {fault.message}"
        except Exception as fault:
            log.exception("the engine could not start")
            return f"{type(fault).__name__}: {fault}".splitlines()[0]
        return ""

    async def _watch(self) -> str:
        """Returns when the engine is lost, with a sentence that says how."""
        engine = self._bring_up.engine
        if engine is None:
            raise AssertionError("an engine that has started is there")
        bound = self._policy.stall_timeout
        stall = StallWatch(engine, bound) if bound else None
        pause = min(_WATCH_SECONDS, bound / _WATCHES_PER_BOUND) if bound else _WATCH_SECONDS
        try:
            while True:
                silence = stall.silent_for() if stall is not None else 0.0
                if bound and silence > bound:
                    return f"The engine stood still for {silence:.0f} s and was killed."
                if self._lifecycle.ready:
                    self._lifecycle.enter(Phase.READY, _ready_message(silence, bound))
                if await engine.wait_dead(pause):
                    return "The engine died."
        finally:
            if stall is not None:
                stall.close()

    def _may_restart(self) -> bool:
        now = time.monotonic()
        while self._restarts and now - self._restarts[0] > self._policy.window:
            self._restarts.popleft()
        return len(self._restarts) < self._policy.restarts

    async def _give_up(self, loss: str) -> None:
        spent = f" It was restarted {len(self._restarts)} times before." if self._restarts else ""
        message = f"{loss}{spent} It is not started again."
        self._lifecycle.enter(Phase.FAILED, message)
        await self._end_lost()
        raise EngineLostError(message)

    async def _end_lost(self) -> None:
        self._on_loss()
        try:
            async with asyncio.timeout(_SHUTDOWN_SECONDS):
                await self._bring_up.end()
        except TimeoutError:
            log.warning("what was left of the engine did not end in time")


def _ready_message(silence: float, bound: float) -> str:
    if silence <= bound * _SUSPICIOUS_SHARE:
        return READY_MESSAGE
    return (
        f"{READY_MESSAGE} But no step of the engine has finished for {silence:.0f} s, although it "
        f"owes one; after {bound:g} s it is taken for stuck."
    )
