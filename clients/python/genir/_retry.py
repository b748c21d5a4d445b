"""Whether and when a refused call is made again. Pure but for the clock."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir.errors import GenirError

_RETRYABLE_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
_JITTER = 0.2
_CONNECT_ATTEMPTS = 3
_CONNECT_BACKOFF = 0.1
_CONNECT_BACKOFF_FACTOR = 3


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is made again.

    UNAVAILABLE and RESOURCE_EXHAUSTED are retried when they carry a retry delay, UNAVAILABLE also
    without one, but then at most twice, after 0.1 and 0.3 seconds. `stream` retries nothing once
    its first event has arrived; `generate` does, since nobody has seen it. Nothing is retried when
    the delay would end after the call's deadline.

    Attributes:
        max_attempts: most times that a call is made, 1 and up; 1 turns retries off. Default 5.
        max_delay: longest delay in seconds that is waited for. Default 30.

    """

    max_attempts: int = 5
    max_delay: float = 30.0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.max_attempts < 1:
            msg = f"max_attempts must be at least 1, not {self.max_attempts}"
            raise ValueError(msg)


NO_RETRIES = RetryPolicy(max_attempts=1)


class CallBudget:
    """The deadline and the attempts of one call."""

    def __init__(
        self,
        policy: RetryPolicy,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._deadline = clock() + timeout
        self._attempts = 1

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; 0 when it has passed."""
        return max(0.0, self._deadline - self._clock())

    def pause_before_retry(self, error: GenirError) -> float | None:
        """Seconds to wait before the call is made again; None to give up with `error`.

        Waits somewhat longer than asked, at random, so that callers that were refused together do
        not come back together.
        """
        if error.code not in _RETRYABLE_CODES or self._attempts >= self._policy.max_attempts:
            return None
        if error.retry_delay is not None:
            asked = error.retry_delay.total_seconds()
        elif error.code is grpc.StatusCode.UNAVAILABLE and self._attempts < _CONNECT_ATTEMPTS:
            asked = _CONNECT_BACKOFF * _CONNECT_BACKOFF_FACTOR ** (self._attempts - 1)
        else:
            return None
        pause = asked * (1 + random.uniform(0, _JITTER))  # noqa: S311 - spreads load, no secret
        if asked > self._policy.max_delay or pause >= self.remaining:
            return None
        self._attempts += 1
        return pause
