"""Stops a server in order: signal, lame duck, drain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from genir_server.domain.errors import GenirError, Reason
from genir_server.supervision.lifecycle import Phase

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from genir_server.admission import Admission
    from genir_server.supervision.lifecycle import Lifecycle

CUT_OFF_GRACE_SECONDS = 0.5
"""How long calls that were cut off may take to end."""

log = structlog.get_logger("genir.server")


class Shutdown:
    """Ends the calls of a server before it exits.

    Args:
        lifecycle: the phase of the server.
        admission: counts the calls in flight.
        cut_off: ends every call with an error; returns how many there were.
        exit_now: ends the process at once, because of a second signal.
        lame_duck: seconds with readiness off and calls still accepted, before the drain.
        drain_timeout: seconds that calls in flight get to finish.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        admission: Admission,
        *,
        cut_off: Callable[[GenirError], int],
        exit_now: Callable[[signal.Signals], None],
        lame_duck: float,
        drain_timeout: float,
    ) -> None:
        self._lifecycle = lifecycle
        self._admission = admission
        self._cut_off = cut_off
        self._exit_now = exit_now
        self._lame_duck = lame_duck
        self._drain_timeout = drain_timeout
        self.requested = asyncio.Event()

    def stop(self, number: signal.Signals) -> None:
        """Requests the stop because of a signal; a second one ends the process at once."""
        if self.requested.is_set():
            log.warning("stopping at once", signal=number.name)
            self._exit_now(number)
        log.info("stopping", signal=number.name)
        self.requested.set()

    def toggle_lame_duck(self) -> None:
        """Turns readiness off or on without stopping."""
        on = not self._lifecycle.lame_duck
        log.info("readiness is off" if on else "readiness follows the phase again")
        self._lifecycle.set_lame_duck(on=on)

    async def be_lame_duck(self) -> None:
        """Turns readiness off and accepts calls for a while, so that load balancers notice."""
        if self._lame_duck and self._lifecycle.ready:
            log.info("readiness is off", seconds=self._lame_duck)
            self._lifecycle.set_lame_duck(on=True)
            await asyncio.sleep(self._lame_duck)

    async def drain(self) -> None:
        """Refuses new calls and waits for those in flight; cuts off what exceeds the timeout."""
        self._lifecycle.enter(Phase.DRAINING, "Calls in flight finish; new calls are refused.")
        log.info("draining", in_flight=self._admission.in_flight, timeout=self._drain_timeout)
        if await self._admission.wait_idle(self._drain_timeout):
            return
        cut_off = self._cut_off(
            GenirError(
                Reason.DRAINING,
                "the server is stopping, and the call did not finish within the drain timeout of "
                f"{self._drain_timeout:g} s: call another server",
            )
        )
        log.warning("drain timed out", calls_cut_off=cut_off)
        await self._admission.wait_idle(CUT_OFF_GRACE_SECONDS)
