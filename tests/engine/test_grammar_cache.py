"""Grammars are compiled once and checked schemas validated once, in vLLM itself."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genir_server.engine.patches.checked_schemas import mark_checked, skip_checked_schemas
from genir_server.engine.patches.grammar_cache import (
    MAX_USES,
    GrammarCache,
    cache_compiled_grammars,
)
from genir_server.engine.vllm.environment import prepare_environment
from genir_server.schema.grammar.guidance import compile_matcher, load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 3},
        },
        "required": ["name", "tags"],
        "additionalProperties": False,
    }
)


class Matcher:
    """Counts its copies."""

    def __init__(self) -> None:
        self.copies = 0

    def deep_copy(self) -> Matcher:
        self.copies += 1
        return Matcher()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=60), st.integers(2, 5))
def test_cache_is_bounded_in_size_and_uses(keys: list[tuple[int, int]], uses: int) -> None:
    cache = GrammarCache(max_characters=100, max_uses=uses)
    served: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for key, size in keys:
        if cache.copy(key) is None:
            cache.add(key, Matcher(), size)
            served[key], sizes[key] = 1, size
        else:
            served[key] += 1
        assert served[key] <= uses
        held = [each for each in sizes if each in cache._entries]
        assert sum(sizes[each] for each in held) == cache._entries.currsize <= 100


def test_oversized_grammar_is_not_cached() -> None:
    cache = GrammarCache(max_characters=100)
    cache.add("small", Matcher(), 60)
    cache.add("large", Matcher(), 101)
    assert cache.copy("large") is None
    assert cache.copy("small") is not None


def masks(matcher: Any, seed: int) -> list[bytes]:
    """The masks along a random walk through the grammar."""
    chosen = random.Random(seed)  # noqa: S311 - repeatable, not secret.
    seen: list[bytes] = []
    while not matcher.is_stopped() and len(seen) < 60:
        mask = bytes(matcher.compute_bitmask())
        seen.append(mask)
        places = [place for place, byte in enumerate(mask) if byte]
        place = chosen.choice(places)
        assert matcher.consume_token(8 * place + (mask[place] & -mask[place]).bit_length() - 1)
    return seen


def test_copies_of_a_grammar_are_independent() -> None:
    tokenizer = load_tokenizer(None)
    cache = GrammarCache(max_uses=100)
    cache.add("schema", compile_matcher(tokenizer, SCHEMA), len(SCHEMA))
    for seed in range(20):
        copy = cache.copy("schema")
        assert masks(copy, seed) == masks(compile_matcher(tokenizer, SCHEMA), seed)


@pytest.fixture
def restored_vllm() -> Iterator[Any]:
    """The guidance module of vLLM; its functions are restored after the test."""
    prepare_environment()
    from vllm.v1.structured_output import backend_guidance

    validate = backend_guidance.validate_guidance_grammar
    compile_grammar = backend_guidance.GuidanceBackend.compile_grammar
    yield backend_guidance
    backend_guidance.validate_guidance_grammar = validate
    backend_guidance.GuidanceBackend.compile_grammar = compile_grammar


def test_only_marked_schemas_skip_validation(restored_vllm: Any) -> None:
    from vllm import SamplingParams
    from vllm.exceptions import VLLMValidationError
    from vllm.sampling_params import StructuredOutputsParams

    skip_checked_schemas()
    bad = StructuredOutputsParams(json='{"type": "foo"}')
    params = SamplingParams(structured_outputs=bad)
    with pytest.raises(VLLMValidationError, match="foo"):
        restored_vllm.validate_guidance_grammar(params, tokenizer=None)
    mark_checked(bad)
    restored_vllm.validate_guidance_grammar(params, tokenizer=None)


def test_schema_is_compiled_once_for_several_requests(
    restored_vllm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.v1.structured_output.backend_types import StructuredOutputOptions

    compiled = []
    compile_grammar = restored_vllm.GuidanceBackend.compile_grammar

    def counting(
        self: Any, request_type: Any, grammar_spec: str, stop_token_ids: Any = None
    ) -> Any:
        compiled.append(grammar_spec)
        return compile_grammar(self, request_type, grammar_spec, stop_token_ids)

    monkeypatch.setattr(restored_vllm.GuidanceBackend, "compile_grammar", counting)
    cache_compiled_grammars()
    backend = SimpleNamespace(
        ll_tokenizer=load_tokenizer(None),
        vocab_size=256,
        disable_any_whitespace=True,
        disable_additional_properties=False,
    )
    compile_ = restored_vllm.GuidanceBackend.compile_grammar
    grammars = [
        compile_(backend, StructuredOutputOptions.JSON, SCHEMA) for _ in range(MAX_USES + 1)
    ]
    assert compiled == [SCHEMA, SCHEMA]
    assert len({id(grammar.ll_matcher) for grammar in grammars}) == MAX_USES + 1
    first, second = (masks(grammar.ll_matcher, 3) for grammar in grammars[:2])
    assert first == second
    bad = compile_(backend, StructuredOutputOptions.JSON, '{"type": "foo"}')
    assert bad.ll_matcher.is_error()
    assert compile_(backend, StructuredOutputOptions.JSON, '{"type": "foo"}').ll_matcher.is_error()


@pytest.mark.parametrize("change", ["validate", "compile"])
def test_changed_vllm_is_left_unpatched(
    restored_vllm: Any, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    def other(anything: object) -> None:
        """A function with another signature."""

    if change == "validate":
        restored_vllm.validate_guidance_grammar = other
        skip_checked_schemas()
        assert restored_vllm.validate_guidance_grammar is other
    else:
        restored_vllm.GuidanceBackend.compile_grammar = other
        cache_compiled_grammars()
        assert restored_vllm.GuidanceBackend.compile_grammar is other
    assert "once more: vllm." in caplog.text
