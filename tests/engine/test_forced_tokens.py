"""The tokens proposed for forced bytes, with the embedded model's own tokenizer."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest

from genir_server.engine.embedded_model import ensure_embedded_model
from genir_server.engine.jump_forward.forced_tokens import count_forced, forced_continuation

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")


@pytest.fixture(scope="module")
async def tokenizer() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import llguidance.hf
        from transformers import AutoTokenizer

        loaded = AutoTokenizer.from_pretrained(str(await ensure_embedded_model()))
    return llguidance.hf.from_tokenizer(loaded, len(loaded))


def written(tokenizer: Any, before: str, forced: str, max_tokens: int = 100) -> list[str]:
    recent = tokenizer.tokenize_str(before)
    tokens = forced_continuation(tokenizer, recent, forced.encode(), max_tokens)
    return [tokenizer.decode_str([token]) for token in tokens]


@pytest.mark.parametrize(
    ("before", "forced"),
    [
        ('{"name":"Tom', '","colour":"'),
        ('{"lives": 9', ',"the last":false}'),
        ("", '{"name":"'),
        ("naïve", " café"),
    ],
)
def test_continuation_equals_the_tokenizers(tokenizer: Any, before: str, forced: str) -> None:
    whole = [tokenizer.decode_str([token]) for token in tokenizer.tokenize_str(before + forced)]
    assert whole[-len(written(tokenizer, before, forced)) :] == written(tokenizer, before, forced)
    assert "".join(written(tokenizer, before, forced)) == forced


def test_token_boundary_chosen_by_the_model_is_kept(tokenizer: Any) -> None:
    # The tokenizer would have written '","' as one token, but the model has written '"' alone.
    recent = [*tokenizer.tokenize_str('{"name":"Tom'), *tokenizer.tokenize_str('"')]
    tokens = forced_continuation(tokenizer, recent, b',"colour":"', 100)
    assert tokenizer.decode_bytes(tokens) == b',"colour":"'


def test_continuation_respects_the_limit(tokenizer: Any) -> None:
    assert len(written(tokenizer, "", '{"name":"', 2)) == 2
    assert written(tokenizer, "", '{"name":"', 0) == []
    assert written(tokenizer, "abc", "", 5) == []


def test_long_constant_is_cut_to_the_limit(tokenizer: Any) -> None:
    constant = json.dumps("the quick brown fox jumps over the lazy dog " * 1000)
    whole = [tokenizer.decode_str([token]) for token in tokenizer.tokenize_str(constant)]
    assert written(tokenizer, "", constant, 12) == whole[:12]


def test_context_may_start_within_a_character(tokenizer: Any) -> None:
    recent = tokenizer.tokenize_bytes("é".encode())[-1:] + tokenizer.tokenize_str('"')
    tokens = forced_continuation(tokenizer, recent, b',"a":', 100)
    assert tokenizer.decode_bytes(tokens) == b',"a":'


def test_tokens_within_forced_bytes_are_counted(tokenizer: Any) -> None:
    tokens = tokenizer.tokenize_str('{"name":"Tom"}')
    assert count_forced(tokenizer, tokens, b'{"name":"') == 3
    assert count_forced(tokenizer, tokens, b'{"na') == 1
    assert count_forced(tokenizer, tokens, b"") == 0
    assert count_forced(tokenizer, tokens, b"other") == 0
