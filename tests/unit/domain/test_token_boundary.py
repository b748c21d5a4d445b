"""A text is cut at any byte; the kept tokens and the rest are exactly the kept bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genir_server.domain.token_boundary import kept_tokens

TOKENS = st.lists(st.binary(max_size=5), max_size=12)


@given(TOKENS, st.data())
def test_kept_tokens_and_rest_are_the_kept_bytes(pieces: list[bytes], data: st.DataObject) -> None:
    text = b"".join(pieces)
    keep = data.draw(st.integers(0, len(text)))
    kept = kept_tokens(range(100, 100 + len(pieces)), pieces, keep)
    count = len(kept.token_ids)
    assert kept.token_ids == tuple(range(100, 100 + count))
    assert b"".join(pieces[:count]) + kept.rest == text[:keep]
    # No further token would fit, but for those without bytes.
    if kept.rest:
        assert len(pieces[count]) > len(kept.rest)
        assert pieces[count].startswith(kept.rest)


@pytest.mark.parametrize(
    ("keep", "ids", "rest"),
    [
        (0, (), b""),
        (1, (), b"{"),
        (2, (7,), b""),
        (4, (7,), "é".encode()[:0] + b"a\xf0"),
        (7, (7, 8, 9), b""),
        (9, (7, 8, 9, 6, 5), b""),
    ],
)
def test_cut_inside_a_token_and_inside_a_character(
    keep: int, ids: tuple[int, ...], rest: bytes
) -> None:
    pieces = [b'{"', b"a\xf0\x9f", b"\x98\x80", b"", b'"}', b""]
    assert kept_tokens([7, 8, 9, 6, 5, 2], pieces, keep) == (ids, rest)


@pytest.mark.parametrize(
    ("pieces", "keep", "said"),
    [([b"ab"], 3, "2 bytes, fewer than 3"), ([], 1, "fewer than 1"), ([b"a", b"b"], 1, "zip")],
)
def test_text_that_is_too_short_is_an_error(pieces: list[bytes], keep: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kept_tokens([1][: len(pieces)], pieces, keep)
