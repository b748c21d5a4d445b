"""What waiting for a server to become ready decides at each step. Pure but for the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir._retry import NO_RETRIES, CallBudget
from genir.errors import (
    DeadlineExceededError,
    ErrorDetails,
    ErrorReason,
    GenirError,
    UnavailableError,
)
from genir.types import Phase, ServerHealth

if TYPE_CHECKING:
    from collections.abc import Callable

_PROBE_TIMEOUT = 5.0


class ReadinessWait:
    """One wait, with the health last seen.

    Args:
        timeout: seconds until the wait ends with an error.
        poll_interval: seconds between two probes.
        on_progress: is told each health, or None while nobody answers.

    """

    def __init__(
        self,
        timeout: float,
        poll_interval: float,
        on_progress: Callable[[ServerHealth | None], None] | None,
    ) -> None:
        self._budget = CallBudget(NO_RETRIES, timeout)
        self._timeout = timeout
        self._poll_interval = poll_interval
        self._on_progress = on_progress

    @property
    def probe_timeout(self) -> float:
        """Seconds that the next probe may take."""
        return max(0.05, min(_PROBE_TIMEOUT, self._budget.remaining))

    def pause_after(self, outcome: ServerHealth | GenirError) -> float | None:
        """Seconds to wait before the next probe; None when the server is ready.

        Raises:
            GenirError: waiting longer is no help: the engine has failed, the time is over, or the
                probe failed for a reason other than nobody answering.

        """
        if isinstance(outcome, GenirError):
            if not isinstance(outcome, UnavailableError | DeadlineExceededError):
                raise outcome
            state = f"nobody answers: {outcome.message}"
            self._tell(None)
        else:
            self._tell(outcome)
            if outcome.ready:
                return None
            if outcome.phase is Phase.FAILED:
                raise UnavailableError(
                    ErrorDetails(
                        reason=ErrorReason.ENGINE_DEAD, message=outcome.message or "engine failed"
                    )
                )
            state = f"its phase is {outcome.phase}: {outcome.message}"
        if self._budget.remaining <= 0:
            raise UnavailableError(
                ErrorDetails(
                    reason=ErrorReason.NOT_READY,
                    message=f"the server is not ready after {self._timeout:g} s; {state}",
                )
            )
        return min(self._poll_interval, self._budget.remaining)

    def _tell(self, health: ServerHealth | None) -> None:
        if self._on_progress is not None:
            self._on_progress(health)
