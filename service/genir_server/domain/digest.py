"""Digests that name schemas and IRs: how they are made and what they look like."""

from __future__ import annotations

import hashlib
import re

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest(text: str) -> str:
    """``sha256:<hex>`` of the UTF-8 bytes of a text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def is_digest(text: str) -> bool:
    """Whether `text` has the form that `digest` gives."""
    return _DIGEST.fullmatch(text) is not None
