"""`top_p` without sorting keeps the same tokens as vLLM does by sorting."""

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
def test_result_equals_sorting(
    seed: int, spreads: list[float], allowed: int, data: st.DataObject
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(spreads), VOCABULARY, generator=generator)
    logits *= torch.tensor(spreads).unsqueeze(1)
    # A grammar leaves some tokens.
    logits[:, torch.randperm(VOCABULARY, generator=generator)[allowed:]] = -torch.inf
    size = len(spreads)
    chosen = data.draw(st.lists(st.floats(0.01, 1.0), min_size=size, max_size=size))
    p = torch.tensor(chosen)
    expected = by_sorting(logits.clone(), p)
    found = keep_nucleus(logits.clone(), p, by_sorting)
    assert torch.equal(found[found > -torch.inf], logits[found > -torch.inf])
    assert (found > -torch.inf).any(dim=-1).all()
    # The two sum the probabilities from different ends, so they may differ in the last token where
    # that does not change the total.
    probabilities = logits.softmax(dim=-1)
    differing = (found > -torch.inf) != (expected > -torch.inf)
    assert (probabilities * differing).sum(dim=-1).max() < 1e-4


def test_only_flat_rows_are_sorted() -> None:
    logits = torch.randn(2, VOCABULARY, generator=torch.Generator().manual_seed(1))
    logits[0] *= 20
    peaked = torch.tensor([0.95, 1.0])
    kept = keep_nucleus(logits.clone(), peaked, never)
    assert (kept[0] > -torch.inf).sum() < 64
    assert torch.equal(kept[1], logits[1])
    with pytest.raises(AssertionError, match="1 rows are sorted"):
        keep_nucleus(logits.clone(), torch.tensor([0.95, 0.95]), never)


def test_top_k_uses_vllms_function() -> None:
    logits = torch.randn(2, VOCABULARY, generator=torch.Generator().manual_seed(2))
    k, p = torch.tensor([5, VOCABULARY]), torch.tensor([0.9, 0.5])
    masking = without_sorting(BY_SORTING)
    for arguments in ((k, p), (k, None), (None, None)):
        own = [None if each is None else each.clone() for each in arguments]
        usual = [None if each is None else each.clone() for each in arguments]
        assert torch.equal(masking(logits.clone(), *own), BY_SORTING(logits.clone(), *usual))


def test_sampler_and_draft_verification_use_the_patch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(topk_topp_sampler, "apply_top_k_top_p_pytorch", BY_SORTING)
    sample_without_sorting()
    assert topk_topp_sampler.apply_top_k_top_p_pytorch.__wrapped__ is BY_SORTING
    calls: list[int] = []

    def counted(rows: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        calls.append(len(rows))
        return rows

    # Both look the function up when they call it.
    monkeypatch.setattr(topk_topp_sampler, "apply_top_k_top_p_pytorch", counted)
    topk_topp_sampler.apply_top_k_top_p(torch.zeros(3, 5), None, torch.ones(3))
    assert calls == [3]


def test_changed_sampler_is_left_unpatched(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(logits: torch.Tensor, everything: object) -> torch.Tensor:
        raise AssertionError(logits, everything)

    monkeypatch.setattr(topk_topp_sampler, "apply_top_k_top_p_pytorch", other)
    sample_without_sorting()
    assert topk_topp_sampler.apply_top_k_top_p_pytorch is other
