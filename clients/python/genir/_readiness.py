"""Decides after each health check whether to go on waiting. Pure but for the clock."""

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
    """One wait for a server to become ready.

    Args:
        timeout: maximum wait in seconds.
        poll_interval: seconds between two health checks.
        on_progress: called after each health check, with None when the server did not answer.

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
        """Deadline of the next health check in seconds."""
        return max(0.05, min(_PROBE_TIMEOUT, self._budget.remaining))

    def pause_after(self, outcome: ServerHealth | GenirError) -> float | None:
        """Seconds to wait before the next health check; None when the server is ready.

        Raises:
            GenirError: the engine has failed, the maximum wait has passed, or the server
                answered a health check with another error.

        """
        if isinstance(outcome, GenirError):
            if not isinstance(outcome, UnavailableError | DeadlineExceededError):
                raise outcome
            state = f"it does not answer: {outcome.message}"
            self._report(None)
        else:
            self._report(outcome)
            if outcome.ready:
                return None
            if outcome.phase is Phase.FAILED:
                raise UnavailableError(
                    ErrorDetails(
                        reason=ErrorReason.ENGINE_DEAD,
                        message=outcome.message or "the engine has failed",
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

    def _report(self, health: ServerHealth | None) -> None:
        if self._on_progress is not None:
            self._on_progress(health)
