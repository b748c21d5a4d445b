"""A model's tokenizer in the form in which the grammar compiler gets it.

The engine takes it from the tokenizer that it uses itself, so it fits models of every origin: a
folder, a name on a hub, an object store. The schema package hands it to its worker processes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class GrammarTokenizer:
    """Either the text of a ``tokenizer.json`` or tables of byte pairs.

    Attributes:
        hugging_face: the text of a ``tokenizer.json``; "" if there are tables.
        ranks: number of each token, by its bytes; tokens with lower numbers are merged first.
        special_tokens: number of each special token, by its name.
        pattern: the regular expression that splits a text before bytes are merged.
        vocabulary: numbers that the model may give a token; None for those of the tokenizer.
        end_token: the token that ends a text; None to look for it in the tokenizer.

    """

    hugging_face: str = ""
    ranks: Mapping[bytes, int] = field(default_factory=dict)
    special_tokens: Mapping[str, int] = field(default_factory=dict)
    pattern: str = ""
    vocabulary: int | None = None
    end_token: int | None = None

    def encode(self) -> bytes:
        """The tokenizer as bytes."""
        fields = asdict(self)
        # Kept out of the JSON, in which its quotes would take three times as long.
        del fields["hugging_face"]
        # JSON has no bytes: each becomes the character with its number.
        fields["ranks"] = {token.decode("latin-1"): rank for token, rank in self.ranks.items()}
        return f"{json.dumps(fields)}\n{self.hugging_face}".encode()

    @classmethod
    def decode(cls, data: bytes) -> GrammarTokenizer:
        """The tokenizer that `encode` wrote."""
        head, _, text = data.partition(b"\n")
        fields = json.loads(head)
        ranks = {token.encode("latin-1"): rank for token, rank in fields.pop("ranks").items()}
        return cls(hugging_face=text.decode(), ranks=ranks, **fields)
