"""Limits on calls in flight, and the values that unset ones get from the engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genir_server.engine.protocol import EngineInfo

_KV_CACHE_OVERCOMMIT = 2
"""Default `max_running_tokens` as a multiple of the KV cache. A call counts with its `max_tokens`,
and most outputs are much shorter. The engine preempts requests when the cache is full."""


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Limits on calls and tokens. A call counts with its prompt's tokens plus its `max_tokens`.

    Attributes:
        max_calls: generate calls in flight: in preparation, queued and running.
        max_calls_per_caller: calls in flight of one caller; None for no limit.
        max_running: calls in the engine. None until the engine is known, then one less than it
            takes, which leaves a place for health checks.
        max_running_tokens: tokens of the calls in the engine. None until the engine is known, then
            twice the capacity of its KV cache. A call that is alone may exceed it.
        max_queued_tokens: tokens of the queued calls; None for no limit.
    """

    max_calls: int = 256
    max_calls_per_caller: int | None = None
    max_running: int | None = None
    max_running_tokens: int | None = None
    max_queued_tokens: int | None = None

    def sized_to(self, engine: EngineInfo) -> AdmissionLimits:
        """Returns these limits, with unset ones derived from the engine's capacity."""
        running, tokens = self.max_running, self.max_running_tokens
        if running is None and engine.max_running:
            running = max(1, engine.max_running - 1)
        if tokens is None and engine.kv_cache_tokens:
            tokens = _KV_CACHE_OVERCOMMIT * engine.kv_cache_tokens
        return replace(self, max_running=running, max_running_tokens=tokens)
