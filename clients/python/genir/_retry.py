"""Decides whether and when to retry a failed call, and logs each retry."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir.errors import GenirError

log = logging.getLogger("genir")

_RETRYABLE_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
_JITTER = 0.2
_MAX_CONNECT_ATTEMPTS = 3
_CONNECT_BACKOFF = 0.1
_CONNECT_BACKOFF_FACTOR = 3


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to retry a call.

    The client retries UNAVAILABLE and RESOURCE_EXHAUSTED when they carry a retry delay. It retries
    UNAVAILABLE that carries no delay twice, after 0.1 and 0.3 seconds. `stream` does not retry
    after its first event; `generate` does, because its caller has seen no event. The client does
    not retry when the delay would end after the call's deadline. The logger ``genir`` reports each
    retry at level INFO.

    Attributes:
        max_attempts: maximum attempts of one call, 1 and up; 1 turns retries off. Default 5.
        max_delay: maximum retry delay in seconds; a longer one is not waited for. Default 30.

    """

    max_attempts: int = 5
    max_delay: float = 30.0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.max_attempts < 1:
            msg = f"max_attempts must be 1 or more, not {self.max_attempts}"
            raise ValueError(msg)


NO_RETRIES = RetryPolicy(max_attempts=1)


class CallBudget:
    """The deadline and the number of tries of one call.

    Attributes:
        timeout: seconds from the start of the call to its deadline.

    """

    def __init__(
        self,
        policy: RetryPolicy,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timeout = timeout
        self._policy = policy
        self._clock = clock
        self._deadline = clock() + timeout
        self._attempts = 1

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; 0 when it has passed."""
        return max(0.0, self._deadline - self._clock())

    def pause_before_retry(self, error: GenirError) -> float:
        """Counts a retry and returns the seconds to wait before it.

        Adds random jitter to the server's delay, so that callers refused together do not return
        together.

        Raises:
            GenirError: `error` itself, when the call must not be retried.

        """
        pause = self._pause_after(error)
        if pause is None:
            raise error
        log.info(
            "attempt %d of %d failed with %s; next attempt in %.2f s",
            self._attempts,
            self._policy.max_attempts,
            error.reason,
            pause,
        )
        self._attempts += 1
        return pause

    def _pause_after(self, error: GenirError) -> float | None:
        if error.code not in _RETRYABLE_CODES or self._attempts >= self._policy.max_attempts:
            return None
        if error.retry_delay is not None:
            delay = error.retry_delay.total_seconds()
        elif error.code is grpc.StatusCode.UNAVAILABLE and self._attempts < _MAX_CONNECT_ATTEMPTS:
            delay = _CONNECT_BACKOFF * _CONNECT_BACKOFF_FACTOR ** (self._attempts - 1)
        else:
            return None
        pause = delay * (1 + random.uniform(0, _JITTER))  # noqa: S311 - spreads load, no secret
        if delay > self._policy.max_delay or pause >= self.remaining:
            return None
        return pause
