"""Bounds on what is under way at once, and how they follow from the engine where they are unset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genir_server.engine.protocol import EngineInfo

_OVERCOMMITMENT = 2
"""How often the KV cache is given away: estimates count max_tokens, and most answers stay well
below. The engine sets requests back when it comes to the worst."""


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Bounds on calls and tokens. A call's tokens are its prompt's and its max_tokens together.

    Attributes:
        calls: calls in the house: being prepared, waiting and in the engine.
        calls_per_caller: of those, how many may be one caller's; None for all.
        running: calls in the engine at once; None until the engine tells, and then one less than it
            takes, so that a health check finds a place.
        running_tokens: tokens of the calls in the engine; None until the engine tells, and then
            twice what its KV cache holds. A call that is alone may have more.
        waiting_tokens: tokens of the calls that wait; None for any number.
    """

    calls: int = 256
    calls_per_caller: int | None = None
    running: int | None = None
    running_tokens: int | None = None
    waiting_tokens: int | None = None

    def sized_to(self, engine: EngineInfo) -> AdmissionLimits:
        """These limits with what is unset taken from the engine."""
        running, tokens = self.running, self.running_tokens
        if running is None and engine.max_running:
            running = max(1, engine.max_running - 1)
        if tokens is None and engine.kv_cache_tokens:
            tokens = _OVERCOMMITMENT * engine.kv_cache_tokens
        return replace(self, running=running, running_tokens=tokens)
