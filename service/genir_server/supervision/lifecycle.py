"""The life of a server: which phase it is in, and what hangs on that.

Phases go STARTING → LOADING_MODEL → WARMING_UP → READY → DRAINING; READY goes to RESTARTING and
back when the engine is lost and started again; any of them may end in FAILED. Transports ask for
the generator and get it, or the error that tells why not. Listeners (the standard health service)
hear of every change.
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
    from genir_server.engine.protocol import Engine

_LOADING_RETRY_SECONDS = 2.0
_DRAINING_RETRY_SECONDS = 1.0
_MAX_RETRY_SECONDS = 30.0


class Phase(StrEnum):
    """The phase a server is in; documented at `genir.v1.Phase`."""

    STARTING = "starting"
    LOADING_MODEL = "loading_model"
    WARMING_UP = "warming_up"
    READY = "ready"
    RESTARTING = "restarting"
    DRAINING = "draining"
    FAILED = "failed"


class Lifecycle:
    """Holds the phase and, once they are up, what generates and what checks schemas.

    Attributes:
        phase: the phase.
        message: one sentence for a person about it.
        started_at: when the server began, on the monotonic clock.
        phase_began_at: when the phase began, on the monotonic clock.
        generator: what generates; None while there is no engine.
        self_test: warm-up and canary; None while there is no engine.
        schema_checker: checks schemas; None while there is no engine.
        lame_duck: whether readiness is off on purpose, whatever the phase.
        expected_ready_at: when the server is likely to be ready, on the monotonic clock; None where
            nobody can tell.

    """

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.message = "The server starts."
        self.started_at = time.monotonic()
        self.phase_began_at = self.started_at
        self.generator: IRGenerator | None = None
        self.self_test: SelfTest | None = None
        self.schema_checker: SchemaChecker | None = None
        self.lame_duck = False
        self.expected_ready_at: float | None = None
        self._failed = False
        self._listeners: list[Callable[[], None]] = []
        self._changed = asyncio.Event()

    @property
    def engine(self) -> Engine | None:
        """The engine that generates; None while there is none."""
        return None if self.generator is None else self.generator.engine

    def attach(self, generator: IRGenerator, self_test: SelfTest) -> None:
        """Makes an engine's generator and its self-test available."""
        self.generator = generator
        self.self_test = self_test

    def detach(self) -> None:
        """Takes generator, self-test and schema checker away: their engine is gone."""
        self.generator = None
        self.self_test = None
        self.schema_checker = None

    @property
    def ready(self) -> bool:
        """Whether generate calls are accepted."""
        return self.phase is Phase.READY

    @property
    def advertised(self) -> bool:
        """Whether others should send calls here: readiness, as load balancers see it."""
        return self.ready and not self.lame_duck

    @property
    def alive(self) -> bool:
        """Whether nothing has gone wrong that only a restart of the process mends: liveness.

        A server that has failed drains before it exits, and does not come to life by that.
        """
        return not self._failed

    @property
    def stopping(self) -> bool:
        """Whether the server goes down or can no longer serve."""
        return self.phase in (Phase.DRAINING, Phase.FAILED)

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls `listener` after every later change."""
        self._listeners.append(listener)

    def enter(self, phase: Phase, message: str) -> None:
        """Goes to a phase. A server that drains or has failed never comes back."""
        if self.stopping and phase not in (Phase.DRAINING, self.phase):
            return
        self.message = message
        if phase is self.phase:
            return
        self.phase = phase
        self._failed = self._failed or phase is Phase.FAILED
        self.phase_began_at = time.monotonic()
        self._tell()

    def set_lame_duck(self, *, on: bool) -> None:
        """Turns readiness off, or leaves it to the phase again."""
        if on is not self.lame_duck:
            self.lame_duck = on
            self._tell()

    def serving_generator(self) -> IRGenerator:
        """The generator, for a call that wants to generate now.

        Raises:
            GenirError: MODEL_LOADING, DRAINING or ENGINE_DEAD.
        """
        if self.ready and self.generator is not None:
            return self.generator
        raise self._unavailable()

    def serving_schema_checker(self) -> SchemaChecker:
        """What checks schemas, which is there before generate calls are accepted.

        Raises:
            GenirError: MODEL_LOADING, DRAINING or ENGINE_DEAD.
        """
        if self.schema_checker is not None and not self.stopping:
            return self.schema_checker
        raise self._unavailable()

    async def wait_ready(self) -> SelfTest:
        """Warm-up and canary, as soon as the server is ready.

        Raises:
            GenirError: DRAINING or ENGINE_DEAD when that will not happen.
        """
        while not self.ready or self.self_test is None:
            if self.stopping:
                raise self._unavailable()
            await self._changed.wait()
        return self.self_test

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
        # Whoever waits wakes up and looks at the phase; later waiters get a fresh event.
        self._changed.set()
        self._changed = asyncio.Event()

    def _unavailable(self) -> GenirError:
        if self.phase is Phase.DRAINING:
            return GenirError(
                Reason.DRAINING,
                "this server is going down: call another one",
                retry_after=_DRAINING_RETRY_SECONDS,
            )
        if self.phase is Phase.FAILED:
            return GenirError(Reason.ENGINE_DEAD, f"the engine is not running: {self.message}")
        elapsed = time.monotonic() - self.phase_began_at
        if self.phase is Phase.RESTARTING:
            return GenirError(
                Reason.ENGINE_DEAD,
                f"the engine was lost {elapsed:.0f} s ago and another one is being started: try "
                "again",
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
