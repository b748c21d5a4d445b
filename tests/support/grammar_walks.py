"""Random texts under a grammar, written byte by byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    import llguidance

_QUOTE = 0x22
_ENDING = b'"}]'
_MAX_BYTES = 4_000


def random_text(
    matcher: llguidance.LLMatcher,
    rng: random.Random,
    begun: bytes = b"",
    patience: int = 60,
) -> bytes | None:
    """What a writer without a plan writes until the grammar accepts it; None if it gets stuck.

    Args:
        matcher: a matcher with single bytes as tokens, which has consumed `begun`; it is changed.
        rng: decides what is written.
        begun: how the text begins.
        patience: after so many bytes, whatever ends a value is preferred.

    """
    written = bytearray()
    inside = _ends_inside_string(begun)
    escaped = False
    while len(written) < _MAX_BYTES:
        if matcher.is_accepting() and rng.random() < 0.5:
            return bytes(written)
        forced = bytes(matcher.compute_ff_bytes())
        if not forced:
            mask = matcher.compute_bitmask()
            allowed = [byte for byte in range(256) if mask[byte >> 3] >> (byte & 7) & 1]
            if not allowed:
                return bytes(written) if matcher.is_accepting() else None
            forced = bytes([_choice(allowed, rng, inside=inside, late=len(written) > patience)])
        if not matcher.consume_tokens(list(forced)):
            return None
        written += forced
        for byte in forced:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = inside
            elif byte == _QUOTE:
                inside = not inside
    return None


def _choice(allowed: list[int], rng: random.Random, *, inside: bool, late: bool) -> int:
    ending = [byte for byte in allowed if byte in _ENDING]
    if late and ending:
        return ending[-1] if inside else rng.choice(ending)
    if inside and rng.random() < 0.8:
        common = [byte for byte in allowed if byte == _QUOTE or chr(byte).isalnum()]
        return rng.choice(common or allowed)
    return rng.choice(allowed)


def _ends_inside_string(text: bytes) -> bool:
    return text.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"') % 2 == 1
