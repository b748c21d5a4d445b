"""The text of a request that continues another, however characters are split into tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from genir_server.engine.vllm.resumed_text import ResumedText, resumed_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HELD = "\N{REPLACEMENT CHARACTER}"
PROMPT = b"Describe a cat: "


def decoder(pieces: Sequence[bytes]) -> Callable[[Sequence[int]], str]:
    """A vocabulary in which each token stands for some bytes."""
    return lambda tokens: b"".join(pieces[token] for token in tokens).decode(errors="replace")


@st.composite
def split_texts(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """A text, and its bytes in pieces that end anywhere."""
    text = draw(st.text(st.sampled_from(["a", "é", "猫", "😀", HELD]), min_size=1, max_size=12))
    data = text.encode()
    ends = sorted({*draw(st.lists(st.integers(1, len(data)), max_size=20)), len(data)})
    return text, [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def written(resumed: ResumedText | None, tokens: Sequence[int], at_once: int) -> str:
    assert resumed is not None
    return "".join(resumed.add(tokens[at : at + at_once]) for at in range(0, len(tokens), at_once))


@given(split_texts(), st.integers(0, 12), st.integers(1, 4), st.sampled_from(["", "x", HELD]))
def test_texts_of_both_requests_make_the_whole(
    split: tuple[str, list[bytes]], cut: int, at_once: int, prompt_end: str
) -> None:
    text, pieces = split
    pieces = [*pieces, b'"', PROMPT + prompt_end.encode()]
    end, prompt = len(pieces) - 2, len(pieces) - 1
    tokens = list(range(end + 1))
    first, second = tokens[:cut], tokens[cut:]
    decode = decoder(pieces)
    # As vLLM does, an earlier request gives nothing of a token that ends inside a character.
    whole = [count for count in range(len(first) + 1) if not decode(first[:count]).endswith(HELD)]
    earlier = decode(first[: whole[-1]])
    resumed = resumed_text(decode, [prompt], first)
    if resumed is None:
        assert not first
        assert prompt_end != HELD
        return
    assert earlier + written(resumed, second, at_once) == text + '"'


def test_plain_prompt_is_left_to_vllm() -> None:
    assert resumed_text(decoder([b"What?"]), [0], []) is None


def test_long_run_of_replacement_characters_is_bounded() -> None:
    calls = 0
    decode = decoder([HELD.encode(), b'"'])

    def counting(tokens: Sequence[int]) -> str:
        nonlocal calls
        calls += 1
        return decode(tokens)

    resumed = resumed_text(counting, [1], [0] * 5_000)
    assert calls < 300
    assert written(resumed, [1], 1).endswith('"')
