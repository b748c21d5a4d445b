"""How the scheduler distributes a step's drafts and records the results, without an engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")


class Bytes:
    """A tokenizer whose tokens are bytes."""

    def tokenize_bytes(self, utf8bytes: bytes) -> list[int]:
        return list(utf8bytes)

    def decode_bytes(self, tokens: list[int]) -> bytes:
        return bytes(tokens)


def request(name: str, text: bytes, forced: bytes = b"") -> Any:
    tokens = list(text)
    return SimpleNamespace(
        request_id=name,
        all_token_ids=tokens,
        output_token_ids=tokens,
        num_tokens=len(tokens),
        num_computed_tokens=len(tokens) - 1,
        num_output_tokens=len(tokens),
        max_tokens=1_000,
        spec_token_ids=[],
        grammar=SimpleNamespace(
            ll_matcher=SimpleNamespace(compute_ff_bytes=lambda: forced),
            ll_tokenizer=Bytes(),
            validate_tokens=lambda tokens: tokens,
        ),
    )


@pytest.fixture
def scheduler() -> Any:
    from genir_server.engine.jump_forward.scheduler import JumpForwardCounts, PromptLookupScheduler

    class WithoutEngine(PromptLookupScheduler):
        def __init__(self) -> None:
            self.jump_forward_counts = JumpForwardCounts()
            self.max_num_running_reqs = 8
            self.max_num_scheduled_tokens = 100
            self.num_spec_tokens = 12
            self._lookups = {}
            self._forced = {}

        def _grammar(self, request: Any) -> Any:
            return request.grammar

        def propose(self, *requests: Any) -> list[bytes]:
            self.running = list(requests)
            self.requests = {request.request_id: request for request in requests}
            self._propose()
            return [bytes(request.spec_token_ids) for request in requests]

        def count(self, tried: Any, sampled: bytes) -> None:
            name = tried.request_id
            self._count(
                SimpleNamespace(
                    num_scheduled_tokens={name: 1 + len(tried.spec_token_ids)},
                    scheduled_spec_decode_tokens={name: tried.spec_token_ids},
                ),
                SimpleNamespace(sampled_token_ids=[list(sampled)], req_id_to_index={name: 0}),
            )

    return WithoutEngine()


def test_prompt_lookup_gets_the_budget_that_forced_tokens_leave(scheduler: Any) -> None:
    """The budget is 8, and the request with prompt lookup is the older one."""
    lookup = request("lookup", b"abcdefgh-abc")
    assert scheduler.propose(lookup) == [b"defg"]
    assert scheduler.propose(lookup, request("forced", b"{", b'"name":')) == [b"d", b'"name":']
    assert scheduler.propose(lookup, request("long", b"{", b'"description":')) == [
        b"",
        b'"descrip',
    ]


def test_acceptance_decides_the_next_draft_length(scheduler: Any) -> None:
    text = request("a", b"abcdefghijklm-abc")
    assert scheduler.propose(text) == [b"defg"]
    scheduler.count(text, b"defgh")
    assert scheduler.propose(text) == [b"defghijk"]
    scheduler.count(text, b"dx")
    assert scheduler.propose(text) == [b"defg"]
    scheduler.count(text, b"x")
    assert scheduler.propose(text) == [b"de"]
    counts = scheduler.jump_forward_counts
    assert (counts.lookup_drafted, counts.lookup_accepted, counts.forced) == (16, 5, 0)


def test_forced_tokens_do_not_change_the_draft_length(scheduler: Any) -> None:
    scheduler.propose(request("a", b"abcdefghijklm-abc"))
    forced = request("a", b"abcdefghijklm-abc", b"xyz")
    assert scheduler.propose(forced) == [b"xyz"]
    scheduler.count(forced, b"x!")
    assert scheduler.propose(request("a", b"abcdefghijklm-abc")) == [b"defg"]


def test_drafts_of_an_earlier_step_are_dropped(scheduler: Any) -> None:
    waiting = request("a", b"abcdefgh-abc")
    assert scheduler.propose(waiting) == [b"defg"]
    waiting.num_computed_tokens -= 1
    assert scheduler.propose(waiting) == [b""]


def test_lookup_is_dropped_with_its_request(scheduler: Any) -> None:
    scheduler.propose(request("a", b"abcdefgh-abc"))
    assert scheduler._lookups
    scheduler.propose()
    assert not scheduler._lookups
