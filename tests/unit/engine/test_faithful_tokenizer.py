"""The tokens of a forced text write this text, whatever it contains."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import llguidance
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from genir_server.domain.grammar_tokenizer import GrammarTokenizer
from genir_server.engine.vllm.faithful_tokenizer import faithful
from genir_server.schema.grammar.guidance import load_tokenizer
from tests.support.chat_models import FAMILIES, backend, names_of
from tests.support.forced_texts import written

KINDS = ("byte level", "byte fallback")
"""The kinds that llguidance reads."""

CHANGED_BY_SOME = (
    *("e\u0301", "\u212b", "\u2460", "\ufb01", "\u1e9b\u0323"),  # by normalizing
    *("▁", "▁▁", " ▁ ", "  ", " x", "x ", "\u3000"),  # by sentencepiece
    *("ü", "für", "猫", "!", "  word  ", "\x00", "\ufffd", "\U0010ffff"),
)
ORDINARY = ('{"name":"', '","size":12}', "The quick brown fox", "猫 🐈", "two  spaces")


def changed_backend(kind: str, family: str, normalizer: str = "") -> Tokenizer:
    """A tokenizer that changes texts in every way that occurs in models."""
    tokenizer = backend(kind, family)
    if kind == "byte level":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=True)]
        )
        if normalizer:
            tokenizer.normalizer = getattr(normalizers, normalizer)()
    elif normalizer:
        tokenizer.normalizer = normalizers.Sequence(
            [getattr(normalizers, normalizer)(), tokenizer.normalizer]
        )
    tokenizer.add_special_tokens(
        [AddedToken("!", special=True), AddedToken("  ", special=True, lstrip=True)]
    )
    tokenizer.add_tokens([AddedToken("für"), AddedToken("word", lstrip=True, rstrip=True)])
    return tokenizer


@cache
def tokenizers(kind: str, family: str, normalizer: str = "") -> tuple[Any, Any]:
    """Llguidance's tokenizers of the original and of the changed one."""
    original = changed_backend(kind, family, normalizer)
    text = original.to_str()
    end = original.token_to_id(FAMILIES[family][1][1])
    return (
        llguidance.LLTokenizer(text, eos_token=end),
        load_tokenizer(GrammarTokenizer(hugging_face=faithful(text), end_token=end)),
    )


def reads_exactly(tokenizer: Any, text: str) -> bool:
    tokens = tokenizer.tokenize_str(text)
    assert not any(map(tokenizer.is_special_token, tokens))
    return bool(tokenizer.decode_bytes(tokens) == text.encode())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_and_texts_of_tokens_are_the_same(kind: str, family: str) -> None:
    before, after = tokenizers(kind, family)
    numbers = range(before.vocab_size)
    assert after.vocab_size == before.vocab_size
    assert after.eos_token == before.eos_token
    original = changed_backend(kind, family)
    # A vocabulary of bytes writes an added "für" as a byte between two letters.
    hidden = (*names_of(family), *(["für"] if kind == "byte level" else []))
    special = {number for number in numbers if after.is_special_token(number)}
    # The byte FF, which no text has, is how llguidance marks a special token.
    special.discard(original.token_to_id("\u00ff" if kind == "byte level" else "<0xFF>"))
    assert special == set(map(original.token_to_id, hidden))
    for number in numbers:
        if number not in special and not before.is_special_token(number):
            assert after.decode_bytes([number]) == before.decode_bytes([number])
    for plain in ("!", "  "):
        assert after.decode_bytes([original.token_to_id(plain)]) == plain.encode()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("normalizer", ["", "NFC", "NFKC", "Lowercase", "Strip"])
def test_names_and_normalized_characters_are_written_as_they_stand(
    kind: str, family: str, normalizer: str
) -> None:
    _, tokenizer = tokenizers(kind, family, normalizer)
    for text in (*names_of(family), *CHANGED_BY_SOME):
        for value in (text, f"a{text}b", f"{text}{text}", f"{text} {text}"):
            json_text = json.dumps(value, ensure_ascii=False)
            assert reads_exactly(tokenizer, json_text), value
            for schema in ({"const": value}, {"enum": [value]}):
                assert written(tokenizer, schema) == (json_text, set()), (value, schema)
            named = {
                "type": "object",
                "properties": {value: {"const": 1}},
                "required": [value],
                "additionalProperties": False,
            }
            assert written(tokenizer, named) == (f"{{{json_text}:1}}", set()), value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_choice_of_names_never_allows_a_special_token(kind: str, family: str) -> None:
    _, tokenizer = tokenizers(kind, family)
    names = list(names_of(family))
    text, special = written(tokenizer, {"enum": names})
    assert json.loads(text) in names
    assert not special


@given(st.sampled_from(KINDS), st.sampled_from(sorted(FAMILIES)), st.data())
def test_every_text_of_names_and_characters_is_read_exactly(
    kind: str, family: str, data: Any
) -> None:
    _, tokenizer = tokenizers(kind, family, "NFC")
    # Control characters are escaped in JSON.
    character = st.characters(min_codepoint=32, exclude_categories=["Cs"])
    name = st.sampled_from((*names_of(family), *CHANGED_BY_SOME, *ORDINARY))
    text = "".join(data.draw(st.lists(st.one_of(name, character), max_size=8)))
    if "\x00" not in text:
        assert reads_exactly(tokenizer, text)


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_text_has_the_same_tokens_as_before(kind: str) -> None:
    text = backend(kind, "ChatML").to_str()
    before = llguidance.LLTokenizer(text)
    after = llguidance.LLTokenizer(faithful(text))
    for ordinary in ORDINARY:
        assert after.tokenize_str(ordinary) == before.tokenize_str(ordinary)


def test_words_that_spell_the_name_of_a_special_token_are_not_joined_to_it() -> None:
    words = ["[", "I", "N", "]", "[I", "N]", "[IN]"]
    merges = [("[", "I"), ("N", "]"), ("[I", "N]")]
    vocabulary = {word: number for number, word in enumerate(words)}
    original = Tokenizer(models.BPE(vocabulary, merges, unk_token="[IN]"))  # noqa: S106
    assert original.encode("[IN]").tokens == ["[IN]"]
    original.add_special_tokens(["[IN]"])
    changed = Tokenizer.from_str(faithful(original.to_str()))
    assert changed.encode("[IN]").tokens == ["[I", "N]"]
    assert changed.token_to_id("\n\0[IN]") == original.token_to_id("[IN]")
    assert changed.encode("x").tokens == ["\n\0[IN]"]


@pytest.mark.parametrize("used", ["", "\0\1\2", "".join(map(chr, range(9)))])
def test_space_of_a_vocabulary_that_has_control_characters(used: str) -> None:
    tokenizer = json.loads(backend("byte fallback", "Gemma").to_str())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary |= {each: len(vocabulary) + place for place, each in enumerate(used)}
    tokenizer["added_tokens"] = []
    changed = llguidance.LLTokenizer(faithful(json.dumps(tokenizer)))
    for text in (" ▁ ", "a b▁c  d", "▁"):
        assert reads_exactly(changed, text)


def test_vocabulary_of_scores_loses_the_names() -> None:
    tokenizer = json.loads(backend("unigram", "Mistral").to_str())
    assert "<s>" in {word for word, _ in tokenizer["model"]["vocab"]}
    changed = faithful(json.dumps(tokenizer))
    number = Tokenizer.from_str(json.dumps(tokenizer)).token_to_id("<s>")
    read = Tokenizer.from_str(changed)
    assert read.token_to_id("\n\0<s>") == number
    assert number not in read.encode("a <s> b", add_special_tokens=False).ids
