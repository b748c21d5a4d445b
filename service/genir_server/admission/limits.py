"""Limits on calls in flight, with defaults derived from the engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genir_server.engine.protocol import EngineInfo

_OVERCOMMITMENT = 2
"""Factor by which estimated tokens may exceed the KV cache.

Estimates count max_tokens, and most answers stay well below. The engine preempts requests if the
cache does overflow.
"""


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Limits on calls and tokens. A call's tokens are its prompt tokens plus its max_tokens.

    Attributes:
        calls: calls in flight: being prepared, waiting and in the engine.
        calls_per_caller: calls in flight of one caller; None for no limit of its own.
        running: calls in the engine at once. None until the engine is known, then one less than its
            maximum, so that a health check has room.
        running_tokens: tokens of the calls in the engine. None until the engine is known, then
            twice the capacity of its KV cache. A single call may exceed it.
        waiting_tokens: tokens of the waiting calls; None for no limit.
    """

    calls: int = 256
    calls_per_caller: int | None = None
    running: int | None = None
    running_tokens: int | None = None
    waiting_tokens: int | None = None

    def sized_to(self, engine: EngineInfo) -> AdmissionLimits:
        """These limits, with unset ones derived from the engine."""
        running, tokens = self.running, self.running_tokens
        if running is None and engine.max_running:
            running = max(1, engine.max_running - 1)
        if tokens is None and engine.kv_cache_tokens:
            tokens = _OVERCOMMITMENT * engine.kv_cache_tokens
        return replace(self, running=running, running_tokens=tokens)
