"""Changes a tokenizer so that the tokens of every text write exactly this text.

llguidance tokenizes what a grammar forces, and the model may then write these tokens only. As
models come, their tokenizers give some texts tokens that write another text, or none: the name of
a special token becomes this token, Unicode is normalized, a space is put in front, and in
vocabularies made with sentencepiece "▁" becomes a space. A request that has to write such a text
would end early or write half a value.

The changed tokenizer has the same numbers for the same tokens, and gives all other texts the same
tokens as before.
"""

from __future__ import annotations

import json
from typing import Any

from genir_server.engine.vllm.special_tokens import is_special

_HIDDEN = "\n\0"
"""Begins the new name of a special token. Forced JSON has no control characters."""

_SPACE = "▁"
_OTHER_SPACES = (*map(chr, range(9)), "\ufdd0")
"""What may stand for a space instead: control characters, and one that is no character."""

_Tokenizer = dict[str, Any]


def faithful(tokenizer_json: str) -> str:
    """The text of a ``tokenizer.json`` whose tokens write exactly the text that they are made of.

    Args:
        tokenizer_json: as the library `tokenizers` writes it.

    """
    content: _Tokenizer = json.loads(tokenizer_json)
    content["normalizer"] = _spaces_only(content["normalizer"])
    _without_prefix(content["pre_tokenizer"])
    # The others, as far as llguidance reads them, write each byte as a letter.
    of_characters = bool(content["model"].get("byte_fallback"))
    space = _unused_space(content["model"]["vocab"]) if of_characters else ""
    hidden = _hide_special_tokens(content["added_tokens"], of_characters=of_characters)
    _rename(content["model"], hidden)
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    if space:
        # "▁" then stands for nothing but itself, which the vocabulary writes in bytes.
        text = text.replace(_SPACE, json.dumps(space)[1:-1])
    return text


def _unused_space(vocabulary: dict[str, int] | list[list[Any]]) -> str:
    words = vocabulary if isinstance(vocabulary, dict) else (word for word, _ in vocabulary)
    used = set("".join(words))
    return next((each for each in _OTHER_SPACES if each not in used), "")


def _spaces_only(normalizer: _Tokenizer | None) -> _Tokenizer | None:
    """The parts of a normalizer that say how a vocabulary spells texts, and change none."""
    match normalizer:
        case {"type": "Sequence", "normalizers": parts}:
            kept = [each for each in map(_spaces_only, parts) if each is not None]
            return {"type": "Sequence", "normalizers": kept} if kept else None
        case {"type": "Replace", "pattern": {"String": " "}} | {"type": "ByteLevel"}:
            return normalizer
    return None


def _without_prefix(pre_tokenizer: _Tokenizer | None) -> None:
    """Puts no space before a text. llguidance itself sees to the type "Metaspace"."""
    if pre_tokenizer is not None and "add_prefix_space" in pre_tokenizer:
        pre_tokenizer["add_prefix_space"] = False
    for part in (pre_tokenizer or {}).get("pretokenizers", ()):
        _without_prefix(part)


def _hide_special_tokens(added: list[_Tokenizer], *, of_characters: bool) -> dict[str, str]:
    """Renames the added tokens that no text may give; the others become plain text.

    Args:
        added: the entries of ``added_tokens``, which are changed.
        of_characters: whether the vocabulary writes characters as they are.

    Returns:
        The new names by the old ones.

    """
    from tokenizers import AddedToken
    from tokenizers.pre_tokenizers import ByteLevel

    letters = set(ByteLevel.alphabet())
    hidden = {}
    for token in added:
        name = token["content"]
        # An added "ü" is written as the byte for which this letter stands.
        garbled = not of_characters and not name.isascii() and letters.issuperset(name)
        token["special"] = garbled or is_special(AddedToken(name, special=token["special"]))
        # Otherwise it would take the white space around it.
        token["lstrip"] = token["rstrip"] = False
        if token["special"]:
            hidden[name] = token["content"] = _HIDDEN + name
            token["normalized"] = False
    return hidden


def _rename(model: _Tokenizer, names: dict[str, str]) -> None:
    """Renames words of a vocabulary, which then has no other way to write them as one token."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        for old in names.keys() & vocabulary.keys():
            vocabulary[names[old]] = vocabulary.pop(old)
    else:
        for word in vocabulary:
            word[0] = names.get(word[0], word[0])
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        model["merges"] = [
            merge
            for merge in model["merges"]
            if merge[0] not in names and merge[1] not in names and merge[0] + merge[1] not in names
        ]
