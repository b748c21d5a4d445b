"""Remembers which large schemas the server knows, so that their digest is sent in place of them."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genir.errors import GenirError
    from genir.v1 import generation_pb2

SHORTENED_FROM_BYTES = 1_024
"""UTF-8 bytes of text from which on a digest is worth it; it may cost a second round trip."""

_MAX_DIGESTS = 1_024
_UNKNOWN_DIGEST = "SCHEMA_NOT_FOUND"


class KnownSchemas:
    """Digests that the server told, the last used last. May be shared by threads.

    Args:
        enabled: whether anything is remembered.

    """

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._digests: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def learn(self, digest: str) -> None:
        """Remembers a digest that the server told."""
        if not self._enabled:
            return
        with self._lock:
            self._digests[digest] = None
            self._digests.move_to_end(digest)
            if len(self._digests) > _MAX_DIGESTS:
                self._digests.popitem(last=False)

    def forget(self, digest: str) -> None:
        """Forgets a digest that the server does not know."""
        with self._lock:
            self._digests.pop(digest, None)

    def knows(self, digest: str) -> bool:
        """Whether the server told this digest."""
        with self._lock:
            return digest in self._digests

    def shorten(self, spec: generation_pb2.GenerationSpec) -> SentSchema:
        """Puts the digest in place of the text of a large schema that the server knows."""
        text = spec.json_schema
        # A character takes at most four bytes; small texts need not be encoded to be measured.
        if not self._enabled or len(text) * 4 < SHORTENED_FROM_BYTES:
            return SentSchema(self, spec)
        raw = text.encode()
        if len(raw) < SHORTENED_FROM_BYTES:
            return SentSchema(self, spec)
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        if self.knows(digest):
            spec.schema_digest = digest
        return SentSchema(self, spec, digest, text)


class SentSchema:
    """The schema of one request, which may have to be sent as text after all.

    Args:
        known: what the server knows.
        spec: what is sent; `restore` changes it.
        digest: the schema's digest, for one that may be sent as such.
        text: its text.

    """

    def __init__(
        self,
        known: KnownSchemas,
        spec: generation_pb2.GenerationSpec,
        digest: str = "",
        text: str = "",
    ) -> None:
        self._known = known
        self._spec = spec
        self._digest = digest
        self._text = text

    def accepted(self, digest: str) -> None:
        """Takes note of the digest that the server told for this request."""
        if digest and digest == self._digest:
            self._known.learn(digest)

    def restore(self, error: GenirError) -> bool:
        """Puts the text back if `error` says that the server does not know the digest.

        Gives whether the call is worth making again: once, because the text is sent from then on.
        """
        if not self._digest or error.reason != _UNKNOWN_DIGEST or self._spec.json_schema:
            return False
        self._known.forget(self._digest)
        self._spec.json_schema = self._text
        return True
