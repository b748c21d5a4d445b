"""How a request to plan a closing, and the plan, cross between the server and a worker."""

from __future__ import annotations

import json
from array import array
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.types import ClosingPlan, VerifierSource

if TYPE_CHECKING:
    from collections.abc import Sequence

_OFFSET = "Q"


@dataclass(frozen=True, slots=True)
class ClosingRequest:
    """What a plan is made of.

    Attributes:
        engine_schema: the schema under which the text was written.
        source: what the verifier of the caller's schema is compiled from.
        written: the text.
        token_ends: where each of its tokens ends, in bytes.
        max_tokens: the budget of the whole value.
        minimal_instance: a valid value; None if none is known.

    """

    engine_schema: str
    source: VerifierSource
    written: bytes
    token_ends: Sequence[int]
    max_tokens: int
    minimal_instance: str | None = None

    def encode(self) -> bytes:
        """The request as bytes. Texts are not escaped, which would take long for large ones."""
        texts = [self.engine_schema.encode(), self.source.text.encode(), self.written]
        ends = array(_OFFSET, self.token_ends).tobytes()
        head = {
            "sizes": [*map(len, texts)],
            "draft": int(self.source.draft),
            "max_tokens": self.max_tokens,
            "minimal_instance": self.minimal_instance,
        }
        return b"".join([json.dumps(head).encode(), b"\n", *texts, ends])

    @classmethod
    def decode(cls, data: bytes) -> ClosingRequest:
        """The request that `encode` wrote."""
        first, _, rest = data.partition(b"\n")
        head = json.loads(first)
        parts: list[bytes] = []
        for size in head["sizes"]:
            parts.append(rest[:size])
            rest = rest[size:]
        ends = array(_OFFSET)
        ends.frombytes(rest)
        return cls(
            engine_schema=parts[0].decode(),
            source=VerifierSource(parts[1].decode(), Draft(head["draft"])),
            written=parts[2],
            token_ends=ends.tolist(),
            max_tokens=head["max_tokens"],
            minimal_instance=head["minimal_instance"],
        )


def encode_plan(plan: ClosingPlan | None) -> bytes:
    """A plan, or that there is none, as bytes."""
    return json.dumps(None if plan is None else asdict(plan)).encode()


def decode_plan(data: bytes) -> ClosingPlan | None:
    """What `encode_plan` wrote."""
    fields = json.loads(data)
    if fields is None:
        return None
    return ClosingPlan(**{**fields, "closed_early": tuple(fields["closed_early"])})
