"""The phase of a server, and what follows from it.

Phases go STARTING → LOADING_MODEL → WARMING_UP → READY → DRAINING. READY goes to RESTARTING and
back when the engine is lost and restarted. Any phase may end in FAILED. Transports get the
generator from here, or an error that says why there is none. Listeners, such as the standard health
service, are called on every change.
"""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import TYPE_CHECKING

from genir_server.domain.errors import GenirError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.core.generate import IRGenerator
    from genir_server.core.schema_check import SchemaChecker
    from genir_server.core.self_test import SelfTest
    from genir_server.engine.protocol import Engine, LoadProgress

_LOADING_RETRY_SECONDS = 2.0
_DRAINING_RETRY_SECONDS = 1.0
_MAX_RETRY_SECONDS = 30.0


class Phase(StrEnum):
    """A phase of a server; documented at `genir.v1.Phase`."""

    STARTING = "starting"
    LOADING_MODEL = "loading_model"
    WARMING_UP = "warming_up"
    READY = "ready"
    RESTARTING = "restarting"
    DRAINING = "draining"
    FAILED = "failed"


class Lifecycle:
    """Holds the phase and, while there is an engine, generator, self-test and schema checker.

    Attributes:
        phase: the current phase.
        message: one sentence about it for people.
        started_at: when the server started, on the monotonic clock.
        phase_began_at: when the phase began, on the monotonic clock.
        generator: generates; None while there is no engine.
        self_test: runs warm-up and canary; None while there is no engine.
        schema_checker: checks schemas; None while there is no engine.
        lame_duck: whether the operator turned readiness off, whatever the phase.
        load_progress: how far the start of an engine has come; None while it is unknown.
        expected_ready_at: when the server is likely to be ready, on the monotonic clock; None if
            unknown.

    """

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.message = "The server is starting."
        self.started_at = time.monotonic()
        self.phase_began_at = self.started_at
        self.generator: IRGenerator | None = None
        self.self_test: SelfTest | None = None
        self.schema_checker: SchemaChecker | None = None
        self.lame_duck = False
        self.load_progress: LoadProgress | None = None
        self.expected_ready_at: float | None = None
        self._failed = False
        self._listeners: list[Callable[[], None]] = []
        self._changed = asyncio.Event()

    @property
    def engine(self) -> Engine | None:
        """The engine that generates; None while there is none."""
        return None if self.generator is None else self.generator.engine

    def attach(self, generator: IRGenerator, self_test: SelfTest) -> None:
        """Makes an engine's generator and self-test available."""
        self.generator = generator
        self.self_test = self_test

    def detach(self) -> None:
        """Removes generator, self-test and schema checker, because their engine is gone."""
        self.generator = None
        self.self_test = None
        self.schema_checker = None

    @property
    def ready(self) -> bool:
        """Whether generate calls are accepted."""
        return self.phase is Phase.READY

    @property
    def advertised(self) -> bool:
        """Readiness as load balancers see it: whether clients should send calls here."""
        return self.ready and not self.lame_duck

    @property
    def alive(self) -> bool:
        """Liveness: False once only a restart of the process helps.

        It stays False when a failed server drains before it exits.
        """
        return not self._failed

    @property
    def stopping(self) -> bool:
        """Whether the server is draining or has failed."""
        return self.phase in (Phase.DRAINING, Phase.FAILED)

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls `listener` after every later change."""
        self._listeners.append(listener)

    def enter(self, phase: Phase, message: str) -> None:
        """Enters a phase. A server that drains or has failed never leaves that state."""
        if self.stopping and phase not in (Phase.DRAINING, self.phase):
            return
        self.message = message
        if phase is self.phase:
            return
        self.phase = phase
        self._failed = self._failed or phase is Phase.FAILED
        self.phase_began_at = time.monotonic()
        self._notify()

    def set_lame_duck(self, *, on: bool) -> None:
        """Turns readiness off, or makes it follow the phase again."""
        if on is not self.lame_duck:
            self.lame_duck = on
            self._notify()

    def serving_generator(self) -> IRGenerator:
        """Returns the generator for a generate call.

        Raises:
            GenirError: MODEL_LOADING, DRAINING or ENGINE_DEAD.
        """
        if self.ready and self.generator is not None:
            return self.generator
        raise self._unavailable()

    def serving_schema_checker(self) -> SchemaChecker:
        """Returns the schema checker, which is available before the server is ready.

        Raises:
            GenirError: MODEL_LOADING, DRAINING or ENGINE_DEAD.
        """
        if self.schema_checker is not None and not self.stopping:
            return self.schema_checker
        raise self._unavailable()

    async def wait_ready(self) -> SelfTest:
        """Waits until the server is ready and returns the self-test.

        Raises:
            GenirError: DRAINING or ENGINE_DEAD if the server will not become ready.
        """
        while not self.ready or self.self_test is None:
            if self.stopping:
                raise self._unavailable()
            await self._changed.wait()
        return self.self_test

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()
        # Wakes the current waiters; later ones wait for a new event.
        self._changed.set()
        self._changed = asyncio.Event()

    def _unavailable(self) -> GenirError:
        if self.phase is Phase.DRAINING:
            return GenirError(
                Reason.DRAINING,
                "this server is stopping: call another one",
                retry_after=_DRAINING_RETRY_SECONDS,
            )
        if self.phase is Phase.FAILED:
            return GenirError(Reason.ENGINE_DEAD, f"the engine is not running: {self.message}")
        elapsed = time.monotonic() - self.phase_began_at
        if self.phase is Phase.RESTARTING:
            return GenirError(
                Reason.ENGINE_DEAD,
                f"the engine was lost {elapsed:.0f} s ago and restarts: try again",
                retry_after=self._retry_seconds(),
                metadata={"phase": self.phase.value},
            )
        return GenirError(
            Reason.MODEL_LOADING,
            f"the model is loading (phase {self.phase.value} for {elapsed:.0f} s): try again",
            retry_after=self._retry_seconds(),
            metadata={"phase": self.phase.value},
        )

    def _retry_seconds(self) -> float:
        if self.expected_ready_at is None:
            return _LOADING_RETRY_SECONDS
        remaining = self.expected_ready_at - time.monotonic()
        return min(max(remaining, _LOADING_RETRY_SECONDS), _MAX_RETRY_SECONDS)
