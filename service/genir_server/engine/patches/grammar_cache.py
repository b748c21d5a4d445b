"""Caches compiled grammars in the engine core.

vLLM's guidance backend compiles the grammar of each request anew. With this patch it copies a
compiled grammar instead, which takes microseconds whatever the grammar's size.

Copies share the states of their lexer, which grow with use, and a lock on them. So a compiled
grammar serves a limited number of requests and is then compiled again. This bounds the states, and
lets the masks of a large batch that shares one schema be computed in parallel.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from genir_server.patch_table.fits import applies, outcomes

if TYPE_CHECKING:
    from collections.abc import Hashable

logger = logging.getLogger(__name__)

MAX_USES = 16
"""Maximum number of requests that one compiled grammar serves."""

MAX_SCHEMA_CHARACTERS = 1 << 20
"""Maximum total length of the schemas whose grammars are cached. A compiled grammar takes about 60
bytes for each character."""

_MIN_CHARACTERS = 2_500
"""Characters that every schema counts for in addition to its own: the grammar's tables and the
lexer's states take some 150 kB however short the schema is."""


def cache_compiled_grammars() -> None:
    """Makes the guidance backend copy grammars from a cache, in the engine core's process."""
    if not applies("grammar cache"):
        logger.warning("vLLM compiles each grammar once more: %s", outcomes()["grammar cache"])
        return
    from vllm.v1.structured_output.backend_guidance import GuidanceBackend, GuidanceGrammar

    compile_grammar = GuidanceBackend.compile_grammar
    cache = GrammarCache()

    def copy_or_compile(
        self: Any,  # noqa: ANN401
        request_type: Any,  # noqa: ANN401
        grammar_spec: str,
        stop_token_ids: set[int] | None = None,
    ) -> Any:  # noqa: ANN401
        matcher = cache.copy((request_type, grammar_spec))
        if matcher is not None:
            return GuidanceGrammar(matcher, self.ll_tokenizer, self.vocab_size)
        grammar = compile_grammar(self, request_type, grammar_spec, stop_token_ids)
        if not grammar.ll_matcher.is_error():
            size = _MIN_CHARACTERS + len(grammar_spec)
            cache.add((request_type, grammar_spec), grammar.ll_matcher, size)
        return grammar

    GuidanceBackend.compile_grammar = copy_or_compile


@dataclass(slots=True)
class _Entry:
    matcher: Any
    size: int
    uses: int = 1


class GrammarCache:
    """Unused matchers to copy from; evicts the least recently used. Thread-safe.

    Args:
        max_characters: maximum total size of the entries.
        max_uses: maximum number of requests that an entry serves, including the one that it was
            compiled for.

    """

    def __init__(
        self, max_characters: int = MAX_SCHEMA_CHARACTERS, max_uses: int = MAX_USES
    ) -> None:
        self._max_uses = max_uses
        self._entries: LRUCache[Hashable, _Entry] = LRUCache(
            max_characters, getsizeof=lambda entry: entry.size
        )
        self._lock = threading.Lock()

    def copy(self, key: Hashable) -> Any | None:  # noqa: ANN401 - llguidance is not typed here.
        """A fresh matcher, or None if there is none to copy."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            entry.uses += 1
            if entry.uses >= self._max_uses:
                del self._entries[key]
            return entry.matcher.deep_copy()

    def add(self, key: Hashable, matcher: Any, size: int) -> None:  # noqa: ANN401
        """Stores a copy of a matcher that has not consumed anything; does nothing if too large."""
        with self._lock:
            self._entries.pop(key, None)
            if size <= self._entries.maxsize:
                self._entries[key] = _Entry(matcher.deep_copy(), size)
