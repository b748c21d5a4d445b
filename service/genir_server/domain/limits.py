"""Limits on one request, checked before any costly work, and its defaults."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_MAX_TOKENS = 2048
"""Completion budget in tokens of a request without `max_tokens`."""

DEFAULT_MAX_ATTEMPTS = 2
"""Attempts of a request without `max_attempts`."""

MAX_TOKENS_PER_DELTA = 1024
"""Maximum `tokens_per_delta` of a request."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits on one request. Those on its schema are in `genir_server.schema.limits`.

    Attributes:
        max_input_bytes: UTF-8 bytes of prompt, conversation and system message together.
        max_messages: messages in a conversation.
        max_attempts: attempts that a request may ask for.
        max_priority: absolute value of a priority.
        max_warmup_schemas: schemas of one warm-up.
    """

    max_input_bytes: int = 1 << 20
    max_messages: int = 256
    max_attempts: int = 5
    max_priority: int = 1000
    max_warmup_schemas: int = 64
