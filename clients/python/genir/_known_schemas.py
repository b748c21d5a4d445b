"""Remembers which large schemas the server has cached, to send their digests instead."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from genir.errors import ErrorReason

if TYPE_CHECKING:
    from genir.errors import GenirError
    from genir.v1 import generation_pb2

MIN_SHORTENED_BYTES = 1_024
"""Minimum size in UTF-8 bytes of a schema whose digest saves enough to risk a second round trip."""

_MAX_DIGESTS = 1_024


class KnownSchemas:
    """Digests of schemas that the server has accepted, the newest last. Threads may share it.

    Args:
        enabled: whether to remember digests.

    """

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._digests: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def learn(self, digest: str) -> None:
        """Remembers the digest of an accepted schema; ignores an empty one."""
        if not (self._enabled and digest):
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
        """Whether the server has accepted the schema of this digest."""
        with self._lock:
            return digest in self._digests

    def shorten(self, spec: generation_pb2.GenerationSpec, digest: str) -> SentSchema:
        """Replaces the text of a large schema by its digest if the server has accepted it."""
        text = spec.json_schema
        if not self._enabled or len(text.encode()) < MIN_SHORTENED_BYTES:
            return SentSchema(self, spec)
        if self.knows(digest):
            spec.schema_digest = digest
        return SentSchema(self, spec, digest, text)


class SentSchema:
    """The schema of one request, whose text may still have to be sent.

    Args:
        known: the digests of accepted schemas.
        spec: the request; `restore` changes it.
        digest: the schema's digest; empty for a schema that is always sent as text.
        text: the schema's text.

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
        """Remembers the digest that the server reported for this request."""
        if digest == self._digest:
            self._known.learn(digest)

    def restore(self, error: GenirError) -> bool:
        """Puts the text back if `error` says that the server does not know the digest.

        Returns whether to repeat the call. That is true once: the text is sent from then on.
        """
        if (
            not self._digest
            or error.reason is not ErrorReason.SCHEMA_NOT_FOUND
            or self._spec.json_schema
        ):
            return False
        self._known.forget(self._digest)
        self._spec.json_schema = self._text
        return True
