"""Reads the names of special tokens in callers' texts as text.

Chat templates mark turns with special tokens, such as `<|im_start|>`. A tokenizer reads their names
wherever they stand in the rendered text, also where a caller wrote them. Such a caller could end
its own turn and open one of the system.

So names are told apart by where they come from. Before a template is rendered, `hide` replaces
those in callers' texts by characters that the template passes on and that no name contains. The
names that the rendered text then has are the template's. `token_ids` replaces these by secret names
and restores the callers' texts. It tokenizes the result with a copy of the tokenizer that knows the
special tokens by their secret names only. A text in which nothing is hidden takes none of this.
"""

from __future__ import annotations

import copy
import re
import secrets
from itertools import compress
from operator import not_
from typing import TYPE_CHECKING

from genir_server.engine.protocol import EngineStartError, SpecialTokenError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerBase

_BARRIER = "\ud800"
_HIDDEN_BYTE = 0xDC00
_HIDDEN = re.compile("[\ud800\udc00-\udcff]+")
"""Unpaired surrogates: UTF-8 has none, so neither a caller nor a vocabulary does."""

_OPAQUE = "\ufffc"
"""Stands for a hidden character where a tokenizer searches, which cannot take surrogates."""


_UNKNOWN = "\U0010ffff"
"""No character, so that a vocabulary without bytes reads it as its token for unknown characters."""


def special_tokens_of(tokenizer: PreTrainedTokenizerBase) -> SpecialTokens | None:
    """The special tokens of a tokenizer; None if it never reads their names in a text.

    Raises:
        EngineStartError: it reads them, and cannot be made to read them as text.
    """
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if isinstance(backend, Tokenizer):
        return SpecialTokens(backend)
    # Mistral's own tokenizer is of this kind, and never reads names.
    names = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    if any(number in tokenizer.encode(name, add_special_tokens=False) for name, number in names):
        raise EngineStartError(
            "the model's tokenizer cannot read the names of special tokens as text, so that "
            "callers could forge turns of a chat: choose a model with a tokenizer.json, or accept "
            "this with --allow-special-tokens"
        )
    return None


def is_special(token: AddedToken) -> bool:
    """Whether an added token may control a model.

    The flag `special` alone does not tell: DeepSeek's tokens for roles and Qwen's `<think>` do not
    have it. Tokenizers also add plain text, such as runs of spaces, to read it as one token, and
    some use a character such as "!" for padding.
    """
    visible = _visible(token)
    return len(visible) > 1 and (bool(token.special) or not visible.isalnum())


class SpecialTokens:
    """The special tokens of one tokenizer. May be used by several threads at once.

    Args:
        tokenizer: the tokenizer, which is copied.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        from tokenizers import AddedToken

        tokens = {
            number: token
            for number, token in tokenizer.get_added_tokens_decoder().items()
            if is_special(token)
        }
        self._finder = _finder(tokenizer, list(tokens.values()))
        self._reader = copy.deepcopy(tokenizer)
        self._reader.no_truncation()
        self._reader.no_padding()
        # A tokenizer can be told to read the names of all tokens with the flag `special` as text.
        self._reader.add_special_tokens(list(tokens.values()))
        self._reader.encode_special_tokens = True
        key = secrets.token_hex(16)
        secret_names = {number: f"x{key}x{number}x" for number in tokens}
        self._reader.add_tokens(
            [AddedToken(name, normalized=False, special=False) for name in secret_names.values()]
        )
        self._numbers = {
            self._reader.token_to_id(name): number for number, name in secret_names.items()
        }
        self._secret_names = {
            self._finder.token_to_id(token.content): secret_names[number]
            for number, token in tokens.items()
        }
        # Some vocabularies can spell added words and tags such as `<b>`; to a model that is text.
        self._controls = frozenset(
            number
            for number, token in tokens.items()
            if token.special and not _visible(token).isalnum()
        ).difference(self._reader.encode(_UNKNOWN, add_special_tokens=False).ids)
        names = [str(token.content) for token in tokens.values()]
        self._all_names = "\n".join(names)
        self._beginnings = tuple({name[:end] for name in names for end in range(1, len(name))})
        self._endings = tuple({name[start:] for name in names for start in range(1, len(name))})

    def hide(self, text: str) -> str:
        """A caller's text for a chat template: the names of special tokens in it are hidden."""
        text = text.encode(errors="replace").decode()
        parts, position = [], 0
        for start, end, _ in self._names_in(text):
            parts += [text[position:start], _hidden(text[start:end])]
            position = end
        return self._separated("".join([*parts, text[position:]]))

    def token_ids(
        self, tokenizer: PreTrainedTokenizerBase, text: str, *, add_special_tokens: bool = False
    ) -> list[int]:
        """The token ids of a text in which callers' texts are hidden.

        Args:
            tokenizer: reads the text if nothing is hidden in it, as it would without this class.
            text: a rendered template, or the result of `hide`.
            add_special_tokens: whether to add those that the model wants around a text.

        Raises:
            SpecialTokenError: a caller's text has the name of a special token in a form that the
                tokenizer cannot read as text.
        """
        visible = _HIDDEN.sub(lambda hidden: _OPAQUE * len(hidden[0]), text)
        names = list(self._names_in(visible))
        if visible == text:
            read = tokenizer(
                text, add_special_tokens=add_special_tokens, return_special_tokens_mask=True
            )
            ids, added = read["input_ids"], read["special_tokens_mask"]
            allowed = len(names)
        else:
            parts, position = [], 0
            for start, end, name in names:
                parts += [text[position:start], self._secret_names[name]]
                position = end
            secret = restored("".join([*parts, text[position:]]))
            encoding = self._reader.encode(secret, add_special_tokens=add_special_tokens)
            ids, added = encoding.ids, encoding.special_tokens_mask
            allowed = 0
        # The vocabulary may hold the name as a word, and a tokenizer may replace characters first.
        controls = (number in self._controls for number in compress(ids, map(not_, added)))
        if sum(controls) > allowed:
            raise SpecialTokenError(
                "a text has the name of a special token, which this model's tokenizer cannot read "
                "as text: leave it out or write it differently"
            )
        return [self._numbers.get(number, number) for number in ids]

    def _separated(self, text: str) -> str:
        """Keeps the text from completing a name together with what a template puts around it."""
        core = text.strip()
        if not core or not (
            core.startswith(self._endings)
            or core.endswith(self._beginnings)
            or core in self._all_names
        ):
            return text
        # A template may trim white space, so that stays outside.
        start = text.index(core)
        return f"{text[:start]}{_BARRIER}{core}{_BARRIER}{text[start + len(core) :]}"

    def _names_in(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Start, end and number in the finder of each name, as the tokenizer would read them."""
        encoding = self._finder.encode(text, add_special_tokens=False)
        for (start, end), found in zip(encoding.offsets, encoding.ids, strict=True):
            if found in self._secret_names:
                yield start, end, found


def restored(text: str) -> str:
    """The text with what `SpecialTokens.hide` hid."""
    return _HIDDEN.sub(
        lambda hidden: bytes(
            ord(character) - _HIDDEN_BYTE for character in hidden[0] if character != _BARRIER
        ).decode(errors="replace"),
        text,
    )


def _visible(token: AddedToken) -> str:
    return str(token.content).replace("▁", "").strip()


def _hidden(text: str) -> str:
    return "".join(chr(_HIDDEN_BYTE + byte) for byte in text.encode())


def _finder(tokenizer: Tokenizer, tokens: list[AddedToken]) -> Tokenizer:
    """A tokenizer for which a text consists of the names of tokens and one word between each."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    finder = Tokenizer(WordLevel({"": 0}, unk_token=""))
    if tokenizer.normalizer is not None:
        finder.normalizer = tokenizer.normalizer
    finder.add_tokens(tokens)
    return finder
