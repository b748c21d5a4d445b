"""How a request to plan a closing, and the plan, cross between the server and a worker."""

from __future__ import annotations

import json
from array import array
from dataclasses import asdict, dataclass

from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.types import ClosingPlan, VerifierSource, WrittenText

_CODE = "I"


@dataclass(frozen=True, slots=True)
class ClosingRequest:
    """What a plan is made of.

    Attributes:
        written: the half-written value.
        source: what the verifier of the caller's schema is compiled from.
        max_tokens: the budget of the whole value.

    """

    written: WrittenText
    source: VerifierSource
    max_tokens: int

    def encode(self) -> bytes:
        """The request as bytes. Texts are not escaped, which would take long for large ones."""
        written = self.written
        texts = [text.encode() for text in (written.engine_schema, self.source.text, written.text)]
        token_ids = array(_CODE, written.token_ids).tobytes()
        head = {
            "sizes": [*map(len, texts)],
            "draft": int(self.source.draft),
            "max_kept": written.max_kept,
            "max_tokens": self.max_tokens,
        }
        return b"".join([json.dumps(head).encode(), b"\n", *texts, token_ids])

    @classmethod
    def decode(cls, data: bytes) -> ClosingRequest:
        """The request that `encode` wrote."""
        first, _, rest = data.partition(b"\n")
        head = json.loads(first)
        parts: list[bytes] = []
        for size in head["sizes"]:
            parts.append(rest[:size])
            rest = rest[size:]
        token_ids = array(_CODE)
        token_ids.frombytes(rest)
        return cls(
            written=WrittenText(
                parts[0].decode(), parts[2].decode(), token_ids.tolist(), head["max_kept"]
            ),
            source=VerifierSource(parts[1].decode(), Draft(head["draft"])),
            max_tokens=head["max_tokens"],
        )


def encode_plan(plan: ClosingPlan | None) -> bytes:
    """A plan, or that there is none, as bytes."""
    return json.dumps(None if plan is None else asdict(plan)).encode()


def decode_plan(data: bytes) -> ClosingPlan | None:
    """What `encode_plan` wrote."""
    fields = json.loads(data)
    if fields is None:
        return None
    lists = {name: tuple(fields[name]) for name in ("closed_early", "token_ids")}
    return ClosingPlan(**{**fields, **lists})
