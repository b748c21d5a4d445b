"""Verifies texts in worker processes. The workers' side, and what crosses between both sides."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from genir_server.core.verify import Verdict, full_verdict
from genir_server.domain.errors import Reason
from genir_server.domain.types import FinishReason, Violation
from genir_server.schema.cache import ByteBoundedCache
from genir_server.schema.isolation.heap import allocated_bytes
from genir_server.schema.isolation.job import Handler
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.types import VerifierSource
from genir_server.schema.verify.verifier import SchemaVerifier

if TYPE_CHECKING:
    from collections.abc import Mapping

# Small Python objects, which `allocated_bytes` leaves out: the cache's own, and the verifier's.
_BYTES_PER_ENTRY = 2_048
# An entry in the dictionary of the verifier, which has room for up to three times as many.
_BYTES_PER_PATTERN = 160


@dataclass(frozen=True, slots=True)
class Check:
    """One text to verify.

    Attributes:
        raw: the finished text.
        finish_reason: why the engine stopped.
        source: what the verifier is compiled from.
        max_violations: how many violations are listed.
    """

    raw: str
    finish_reason: FinishReason | None
    source: VerifierSource
    max_violations: int

    def encode(self) -> bytes:
        """The check as the body of a job."""
        # Both texts may be large: they are not worth escaping.
        schema, raw = self.source.text.encode(), self.raw.encode(errors="surrogatepass")
        header = [
            len(schema),
            self.source.draft,
            self.source.patterns,
            self.finish_reason,
            self.max_violations,
        ]
        return json.dumps(header).encode() + b"\n" + schema + raw

    @classmethod
    def decode(cls, body: bytes) -> Check:
        """The check that `encode` wrote."""
        header, _, texts = body.partition(b"\n")
        size, draft, patterns, finish_reason, max_violations = json.loads(header)
        return cls(
            texts[size:].decode(errors="surrogatepass"),
            None if finish_reason is None else FinishReason(finish_reason),
            VerifierSource(texts[:size].decode(), Draft(draft), tuple(map(tuple, patterns))),
            max_violations,
        )


def encode_verdict(verdict: Verdict) -> bytes:
    """A verdict as the body of a result."""
    return json.dumps(asdict(verdict)).encode()


def decode_verdict(body: bytes) -> Verdict:
    """The verdict that `encode_verdict` wrote."""
    fields = json.loads(body)
    if fields["reason"] is not None:
        fields["reason"] = Reason(fields["reason"])
    fields["violations"] = tuple(Violation(**violation) for violation in fields["violations"])
    return Verdict(**fields)


class _Verifiers:
    """Compiled schemas. The worker keeps them, and the children that it forks inherit them."""

    def __init__(self, cached_bytes: int) -> None:
        self._cache: ByteBoundedCache[SchemaVerifier] = ByteBoundedCache(cached_bytes)

    def check(self, body: bytes) -> bytes:
        """Runs in a child."""
        check = Check.decode(body)
        verifier = self._cache.get(check.source) or SchemaVerifier.of(check.source)
        return encode_verdict(
            full_verdict(check.raw, check.finish_reason, verifier, check.max_violations)
        )

    def remember(self, body: bytes) -> None:
        """Runs in the worker, after a child has compiled the same schema within its limits."""
        source = Check.decode(body).source
        if self._cache.get(source) is None:
            # Before compiling, which adds the text as UTF-8 to a text with other than ASCII.
            size, before = _size_bytes(source), allocated_bytes()
            verifier = SchemaVerifier.of(source)
            self._cache.put(source, verifier, size + max(0, allocated_bytes() - before))


def _size_bytes(source: VerifierSource) -> int:
    """What an entry holds besides what compiling allocates from the C library.

    A character takes one to four bytes in memory.
    """
    size = _BYTES_PER_ENTRY + sys.getsizeof(source.text) + sys.getsizeof(source.patterns)
    for pair in source.patterns:
        size += _BYTES_PER_PATTERN + sys.getsizeof(pair) + sum(map(sys.getsizeof, pair))
    return size


def load_handler(settings: Mapping[str, object]) -> Handler:
    """Makes the handler of a worker. `settings` has `cached_bytes`, see `VerificationLimits`."""
    verifiers = _Verifiers(int(str(settings["cached_bytes"])))
    return Handler(handle=verifiers.check, remember=verifiers.remember)
