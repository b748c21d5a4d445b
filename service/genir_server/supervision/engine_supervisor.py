"""Keeps an engine running: starts it, detects its death or stall, restarts it or gives up.

The calls of a lost engine end within a second. The rest of the server (ports, health, schema
workers) goes on. Each restart waits longer than the one before, and the number of restarts in a
time window is limited: an engine that dies again and again needs an operator or another machine.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from genir_server.domain.errors import GenirError
from genir_server.engine.protocol import END_SECONDS, EngineStartError
from genir_server.supervision.lifecycle import Phase
from genir_server.supervision.stall import StallWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.engine.protocol import Engine
    from genir_server.supervision.lifecycle import Lifecycle

READY_MESSAGE = "Generate calls are accepted."

_MAX_POLL_SECONDS = 1.0
"""Maximum time between checks for a stall. A death is noticed at once."""
_MIN_POLLS_PER_TIMEOUT = 20
_MAX_BACKOFF_SECONDS = 30.0
_MIN_RESTART_TIMEOUT_SECONDS = 300.0
_RESTART_TIMEOUT_FACTOR = 3
"""A restart times out after this multiple of the last start's duration."""
_WINDOW_FACTOR = 2
"""Restarts are counted over at least this multiple of the time that all of them take."""
_SUSPICION_FRACTION = 0.25
"""Fraction of the stall timeout after which the ready message mentions the silence."""

log = structlog.get_logger("genir.engine")


class Launcher(Protocol):
    """Starts and ends engines, one at a time."""

    @property
    def engine(self) -> Engine | None:
        """The engine that was started last and has not been ended."""
        ...

    async def start(self, enter: Callable[[Phase, str], None]) -> None:
        """Starts an engine, tests it, and puts it into service.

        Raises:
            EngineStartError: with one line for the operator.
            GenirError: the engine's first generation failed.
        """
        ...

    async def end(self) -> None:
        """Takes the engine out of service and ends it."""
        ...


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When an engine counts as lost, and how often it is restarted.

    Attributes:
        max_restarts: restarts within `window`, and attempts at one restart; 0 gives up at once.
        window: seconds over which restarts are counted; more if the engine starts slowly, because
            restarts that take longer than the window would never run out.
        start_timeout: seconds that the first start may take.
        stall_timeout: seconds without progress after which an engine counts as lost; 0 for never.
        backoff: seconds before the first restart; doubles with each restart within `window`.
    """

    max_restarts: int = 3
    window: float = 600.0
    start_timeout: float = 3600.0
    stall_timeout: float = 60.0
    backoff: float = 1.0


class StartFailedError(Exception):
    """The first engine did not start. The message is for the operator."""


class EngineLostError(Exception):
    """A running engine was lost and is not restarted. The message is for the operator."""


class EngineSupervisor:
    """Runs engines, one after the other.

    Args:
        lifecycle: enters each phase.
        launcher: starts and ends engines.
        policy: when an engine counts as lost, and how often it is restarted.
        on_loss: ends the calls of a lost engine; called once per loss.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        launcher: Launcher,
        policy: RestartPolicy,
        on_loss: Callable[[], None],
    ) -> None:
        self._lifecycle = lifecycle
        self._launcher = launcher
        self._policy = policy
        self._on_loss = on_loss
        self._restarts: deque[float] = deque()
        self._start_seconds = 0.0

    async def run(self) -> None:
        """Keeps an engine running until cancelled, or until it is lost while the server stops.

        Raises:
            StartFailedError: the first engine did not start.
            EngineLostError: an engine was lost and is not restarted.
        """
        await self._first_start()
        while True:
            loss = await self._watch()
            began = time.monotonic()
            log.error("engine lost", detail=loss, will_restart=self._may_restart())
            # Its remaining processes may be stopped, or wait for a dead one.
            if self._launcher.engine is not None:
                self._launcher.engine.kill()
            if self._lifecycle.stopping:
                await self._end_lost()
                return
            if not self._may_restart():
                await self._give_up(loss)
            self._lifecycle.expected_ready_at = began + self._start_seconds
            self._lifecycle.enter(Phase.RESTARTING, f"{loss} The engine restarts.")
            await self._end_lost()
            await self._restart(loss)
            log.info("engine restarted", seconds=round(time.monotonic() - began, 1))

    async def _first_start(self) -> None:
        began = time.monotonic()
        self._lifecycle.enter(Phase.LOADING_MODEL, "The engine is starting and loading the model.")
        fault = await self._attempt_within(self._policy.start_timeout, self._lifecycle.enter)
        if fault is None:
            fault = (
                f"the engine did not start within {self._policy.start_timeout:g} s: raise "
                "--start-timeout if the model takes longer to load"
            )
        if fault:
            self._lifecycle.enter(Phase.FAILED, fault)
            raise StartFailedError(fault)
        self._start_seconds = time.monotonic() - began
        self._lifecycle.enter(Phase.READY, READY_MESSAGE)

    async def _restart(self, loss: str) -> None:
        """Starts engines until one runs or there were too many restarts."""

        def enter(_: Phase, message: str) -> None:
            self._lifecycle.enter(Phase.RESTARTING, f"{loss} {message}")

        for _ in range(self._policy.max_restarts):
            if not self._may_restart():
                break
            pause = min(self._policy.backoff * 2 ** len(self._restarts), _MAX_BACKOFF_SECONDS)
            self._restarts.append(time.monotonic())
            await asyncio.sleep(pause)
            began = time.monotonic()
            timeout = max(
                _MIN_RESTART_TIMEOUT_SECONDS, _RESTART_TIMEOUT_FACTOR * self._start_seconds
            )
            fault = await self._attempt_within(timeout, enter)
            if fault is None:
                await self._give_up(f"The engine did not restart within {timeout:.0f} s.")
            if not fault:
                self._start_seconds = time.monotonic() - began
                self._lifecycle.enter(Phase.READY, READY_MESSAGE)
                return
            log.error("engine restart failed", detail=fault)
            await self._end_lost()
        await self._give_up(loss)

    async def _attempt_within(
        self, timeout: float, enter: Callable[[Phase, str], None]
    ) -> str | None:
        """Like `_attempt`; None if it has not ended after `timeout` seconds."""
        attempt = asyncio.create_task(self._attempt(enter), name="engine-start")
        try:
            # Not cancelled on timeout: a start cannot be cancelled, only abandoned.
            done, _ = await asyncio.wait((attempt,), timeout=timeout)
        except asyncio.CancelledError:
            attempt.cancel()
            raise
        return attempt.result() if done else None

    async def _attempt(self, enter: Callable[[Phase, str], None]) -> str:
        """Starts an engine; returns an error message, empty on success."""
        try:
            await self._launcher.start(enter)
        except EngineStartError as fault:
            return str(fault)
        except GenirError as fault:
            return f"the first generation failed: {fault.message}"
        except Exception as fault:
            log.exception("the engine could not start")
            return f"{type(fault).__name__}: {fault}".splitlines()[0]
        return ""

    async def _watch(self) -> str:
        """Returns when the engine is lost, with a sentence about how."""
        engine = self._launcher.engine
        if engine is None:
            raise AssertionError("the launcher keeps the engine that it started")
        timeout = self._policy.stall_timeout
        stall = StallWatch(engine, timeout) if timeout else None
        pause = _MAX_POLL_SECONDS
        if timeout:
            pause = min(pause, timeout / _MIN_POLLS_PER_TIMEOUT)
        try:
            while True:
                silence = stall.silent_for() if stall is not None else 0.0
                if stall is not None and silence > timeout:
                    return f"{stall.subject} made no progress for {silence:.0f} s and was killed."
                if self._lifecycle.ready:
                    self._lifecycle.enter(Phase.READY, _ready_message(silence, timeout))
                if await engine.wait_dead(pause):
                    return "The engine died."
        finally:
            if stall is not None:
                stall.close()

    def _may_restart(self) -> bool:
        now = time.monotonic()
        starts = self._policy.max_restarts + 1
        window = max(self._policy.window, _WINDOW_FACTOR * self._start_seconds * starts)
        while self._restarts and now - self._restarts[0] > window:
            self._restarts.popleft()
        return len(self._restarts) < self._policy.max_restarts

    async def _give_up(self, loss: str) -> None:
        before = f" It was restarted {len(self._restarts)} times before." if self._restarts else ""
        message = f"{loss}{before} It is not restarted."
        self._lifecycle.enter(Phase.FAILED, message)
        await self._end_lost()
        raise EngineLostError(message)

    async def _end_lost(self) -> None:
        self._on_loss()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._launcher.end()
        except TimeoutError:
            log.warning("the remains of the lost engine did not end in time")


def _ready_message(silence: float, timeout: float) -> str:
    if silence <= timeout * _SUSPICION_FRACTION:
        return READY_MESSAGE
    return (
        f"{READY_MESSAGE} But the engine has made no progress for {silence:.0f} s; after "
        f"{timeout:g} s it is killed."
    )
