"""What vLLM keeps by sorting is what is kept without."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    # Importing torch and vLLM warns of things that are theirs to change.
    warnings.simplefilter("ignore")
    import torch
    from vllm.v1.sample.ops import topk_topp_sampler

    from genir_server.engine.patches.top_p import (
        keep_nucleus,
        sample_without_sorting,
        without_sorting,
    )

VOCABULARY = 3_000
BY_SORTING = topk_topp_sampler.apply_top_k_top_p_pytorch


def by_sorting(rows: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    return BY_SORTING(rows, None, p)


def never(rows: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    raise AssertionError(f"{len(rows)} rows are sorted for {p}")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    spreads=st.lists(st.sampled_from([0.1, 1.0, 3.0, 10.0, 50.0]), min_size=1, max_size=5),
    allowed=st.sampled_from([1, 2, 40, 64, 65, 1_500, VOCABULARY]),
    data=st.data(),
)
def test_what_is_kept_is_what_sorting_keeps(
    seed: int, spreads: list[float], allowed: int, data: st.DataObject
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(spreads), VOCABULARY, generator=generator)
    logits *= torch.tensor(spreads).unsqueeze(1)
    # As a grammar leaves them.
    logits[:, torch.randperm(VOCABULARY, generator=generator)[allowed:]] = -torch.inf
    size = len(spreads)
    chosen = data.draw(st.lists(st.floats(0.01, 1.0), min_size=size, max_size=size))
    p = torch.tensor(chosen)
    expected = by_sorting(logits.clone(), p)
    found = keep_nucleus(logits.clone(), p, by_sorting)
    assert torch.equal(found[found > -torch.inf], logits[found > -torch.inf])
    assert (found > -torch.inf).any(dim=-1).all()
    # They add the probabilities up from different ends, so that the last token to be kept, where
    # it makes no difference to what is kept together, may be another.
    probabilities = logits.softmax(dim=-1)
    differing = (found > -torch.inf) != (expected > -torch.inf)
    assert (probabilities * differing).sum(dim=-1).max() < 1e-4


def test_a_peaked_row_is_not_sorted_and_a_flat_one_is() -> None:
    logits = torch.randn(2, VOCABULARY, generator=torch.Generator().manual_seed(1))
    logits[0] *= 20
    peaked = torch.tensor([0.95, 1.0])
    kept = keep_nucleus(logits.clone(), peaked, never)
    assert (kept[0] > -torch.inf).sum() < 64
    assert torch.equal(kept[1], logits[1])
    with pytest.raises(AssertionError, match="1 rows are sorted"):
        keep_nucleus(logits.clone(), torch.tensor([0.95, 0.95]), never)


def test_with_top_k_it_is_done_as_before() -> None:
    logits = torch.randn(2, VOCABULARY, generator=torch.Generator().manual_seed(2))
    k, p = torch.tensor([5, VOCABULARY]), torch.tensor([0.9, 0.5])
    masking = without_sorting(BY_SORTING)
    for arguments in ((k, p), (k, None), (None, None)):
        own = [None if each is None else each.clone() for each in arguments]
        usual = [None if each is None else each.clone() for each in arguments]
        assert torch.equal(masking(logits.clone(), *own), BY_SORTING(logits.clone(), *usual))


def test_the_sampler_and_the_verification_of_drafts_both_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(topk_topp_sampler, "apply_top_k_top_p_pytorch", BY_SORTING)
    sample_without_sorting()
    assert topk_topp_sampler.apply_top_k_top_p_pytorch.__wrapped__ is BY_SORTING
    calls: list[int] = []

    def counted(rows: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        calls.append(len(rows))
        return rows

    # What both call looks the function up when it is called.
    monkeypatch.setattr(topk_topp_sampler, "apply_top_k_top_p_pytorch", counted)
    topk_topp_sampler.apply_top_k_top_p(torch.zeros(3, 5), None, torch.ones(3))
    assert calls == [3]


def test_a_sampler_that_is_not_known_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(logits: torch.Tensor, everything: object) -> torch.Tensor:
        raise AssertionError(logits, everything)

    monkeypatch.setattr(topk_topp_sampler, "apply_top_k_top_p_pytorch", other)
    sample_without_sorting()
    assert topk_topp_sampler.apply_top_k_top_p_pytorch is other
