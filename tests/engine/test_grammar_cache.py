"""Compiled grammars are copied and probed schemas trusted, in vLLM itself."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genir_server.engine.patches import grammar_cache as grammar_reuse
from genir_server.engine.patches.grammar_cache import CompiledGrammars, mark_checked
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
def test_what_is_kept_is_bounded_in_size_and_in_uses(
    asked: list[tuple[int, int]], uses: int
) -> None:
    kept = CompiledGrammars(most_characters=100, uses=uses)
    served: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for key, size in asked:
        if kept.copy_of(key) is None:
            kept.keep(key, Matcher(), size)
            served[key], sizes[key] = 1, size
        else:
            served[key] += 1
        assert served[key] <= uses
        held = [each for each in sizes if each in kept._kept]
        assert sum(sizes[each] for each in held) == kept._characters <= 100


def test_a_grammar_too_large_to_keep_is_not_kept() -> None:
    kept = CompiledGrammars(most_characters=100)
    kept.keep("small", Matcher(), 60)
    kept.keep("large", Matcher(), 101)
    assert kept.copy_of("large") is None
    assert kept.copy_of("small") is not None


def masks(matcher: Any, seed: int) -> list[bytes]:
    """The masks along a walk that only the seed decides."""
    chosen = random.Random(seed)  # noqa: S311 - to be repeatable.
    seen: list[bytes] = []
    while not matcher.is_stopped() and len(seen) < 60:
        mask = bytes(matcher.compute_bitmask())
        seen.append(mask)
        places = [place for place, byte in enumerate(mask) if byte]
        place = chosen.choice(places)
        assert matcher.consume_token(8 * place + (mask[place] & -mask[place]).bit_length() - 1)
    return seen


def test_copies_of_a_grammar_know_nothing_of_each_other() -> None:
    tokenizer = load_tokenizer(None)
    kept = CompiledGrammars(uses=100)
    kept.keep("schema", compile_matcher(tokenizer, SCHEMA), len(SCHEMA))
    for seed in range(20):
        copy = kept.copy_of("schema")
        assert masks(copy, seed) == masks(compile_matcher(tokenizer, SCHEMA), seed)


@pytest.fixture
def vllm_as_it_was() -> Iterator[Any]:
    """VLLM's guidance module, with what a test changes in it put back."""
    prepare_environment()
    from vllm.v1.structured_output import backend_guidance

    validate = backend_guidance.validate_guidance_grammar
    compile_grammar = backend_guidance.GuidanceBackend.compile_grammar
    yield backend_guidance
    backend_guidance.validate_guidance_grammar = validate
    backend_guidance.GuidanceBackend.compile_grammar = compile_grammar


def test_only_a_schema_marked_as_checked_is_passed_over(vllm_as_it_was: Any) -> None:
    from vllm import SamplingParams
    from vllm.exceptions import VLLMValidationError
    from vllm.sampling_params import StructuredOutputsParams

    grammar_reuse.trust_checked_schemas()
    bad = StructuredOutputsParams(json='{"type": "foo"}')
    params = SamplingParams(structured_outputs=bad)
    with pytest.raises(VLLMValidationError, match="foo"):
        vllm_as_it_was.validate_guidance_grammar(params, tokenizer=None)
    mark_checked(bad)
    vllm_as_it_was.validate_guidance_grammar(params, tokenizer=None)


def test_the_backend_compiles_a_schema_once_for_several_requests(
    vllm_as_it_was: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.v1.structured_output.backend_types import StructuredOutputOptions

    compiled = []
    compile_grammar = vllm_as_it_was.GuidanceBackend.compile_grammar

    def counting(
        self: Any, request_type: Any, grammar_spec: str, stop_token_ids: Any = None
    ) -> Any:
        compiled.append(grammar_spec)
        return compile_grammar(self, request_type, grammar_spec, stop_token_ids)

    monkeypatch.setattr(vllm_as_it_was.GuidanceBackend, "compile_grammar", counting)
    grammar_reuse.reuse_compiled_grammars()
    backend = SimpleNamespace(
        ll_tokenizer=load_tokenizer(None),
        vocab_size=256,
        disable_any_whitespace=True,
        disable_additional_properties=False,
    )
    take = vllm_as_it_was.GuidanceBackend.compile_grammar
    uses = grammar_reuse.USES_OF_A_GRAMMAR
    grammars = [take(backend, StructuredOutputOptions.JSON, SCHEMA) for _ in range(uses + 1)]
    assert compiled == [SCHEMA, SCHEMA]
    assert len({id(grammar.ll_matcher) for grammar in grammars}) == uses + 1
    first, second = (masks(grammar.ll_matcher, 3) for grammar in grammars[:2])
    assert first == second
    bad = take(backend, StructuredOutputOptions.JSON, '{"type": "foo"}')
    assert bad.ll_matcher.is_error()
    assert take(backend, StructuredOutputOptions.JSON, '{"type": "foo"}').ll_matcher.is_error()


@pytest.mark.parametrize("change", ["validate", "compile"])
def test_another_vllm_is_left_as_it_is(
    vllm_as_it_was: Any, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    def other(anything: object) -> None:
        """Not what these changes were written for."""

    if change == "validate":
        vllm_as_it_was.validate_guidance_grammar = other
        grammar_reuse.trust_checked_schemas()
        assert vllm_as_it_was.validate_guidance_grammar is other
    else:
        vllm_as_it_was.GuidanceBackend.compile_grammar = other
        grammar_reuse.reuse_compiled_grammars()
        assert vllm_as_it_was.GuidanceBackend.compile_grammar is other
    assert "in its own way" in caplog.text
