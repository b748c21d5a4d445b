"""Bounds on what a caller may ask for, checked before anything costly is done."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_MAX_TOKENS = 2048
"""Completion budget of a request that names none, in tokens."""


DEFAULT_MAX_ATTEMPTS = 2
"""Attempts of a request that names no number."""


MAX_TOKENS_PER_DELTA = 1024
"""Most tokens that a delta may be asked to wait for."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds on one request.

    Attributes:
        input_bytes: UTF-8 bytes of prompt, conversation and system message together.
        messages: messages in a conversation.
        schema_bytes: UTF-8 bytes of the schema's text.
        attempts: most attempts a caller may ask for.
        priority: largest absolute value of a priority.
        warmup_schemas: schemas of one warm-up.
    """

    input_bytes: int = 1 << 20
    messages: int = 256
    schema_bytes: int = 1 << 20
    attempts: int = 5
    priority: int = 1000
    warmup_schemas: int = 64
