"""Jump-forward changes the number of steps that a text takes, but not the text.

Two engines run side by side on the tiny model, in float32, where the shape of a batch does not
change the output: stock vLLM, and jump-forward with prompt lookup. The tiny model's choices are
noise, so it splits forced bytes into all kinds of tokens and disagrees with most drafts, which is
the hard case for exactness. Memory and steps are so small that prompts are processed in chunks and
requests are preempted. The savings are measured on the real model.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import textwrap
import warnings
from collections import Counter
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from bench.jump_forward.schemas import SCHEMAS
from bench.support.tiny_model import make_tiny_model
from genir_server.domain.types import FinishReason, Message, Role, Sampling
from genir_server.engine.config import EngineConfig
from genir_server.engine.protocol import EngineRejectedError, EngineRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from genir_server.engine.vllm.engine import VllmEngine

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")

MAX_REQUESTS = 8
CONTEXT = 512
PROMPT = "Say something about the matter at hand, in as few words as you can. " * 3


class Pair(NamedTuple):
    stock: VllmEngine
    jumping: VllmEngine


class Answer(NamedTuple):
    text: str
    tokens: int
    finish_reason: FinishReason | None


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[Pair]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from genir_server.engine.vllm.start import start_vllm_engine

        config = EngineConfig(
            model=str(make_tiny_model()),
            served_model_name="tiny",
            max_model_len=CONTEXT,
            jump_forward="off",
            engine_args={
                "dtype": "float32",
                "max_num_seqs": MAX_REQUESTS,
                "max_num_batched_tokens": 32,
                "num_gpu_blocks_override": 10,
            },
        )
        stock = await start_vllm_engine(config)
        jumping = await start_vllm_engine(replace(config, jump_forward="on"))
    yield Pair(stock, jumping)
    await stock.shutdown()
    await jumping.shutdown()


_numbers = iter(range(1_000_000))


async def answer(
    engine: VllmEngine,
    schema: dict[str, Any],
    sampling: Sampling,
    *,
    prompt: str = PROMPT,
    max_tokens: int = 120,
) -> Answer:
    ids = await engine.tokenize(prompt)
    wanted = EngineRequest(
        f"jump-{next(_numbers)}", ids, json.dumps(schema), sampling, max_tokens=max_tokens
    )
    deltas = [delta async for delta in engine.generate(wanted)]
    return Answer(
        "".join(delta.text for delta in deltas),
        sum(delta.token_count for delta in deltas),
        deltas[-1].finish_reason,
    )


async def answers(
    engine: VllmEngine, schemas: list[dict[str, Any]], sampling: Sampling, **settings: Any
) -> list[Answer]:
    return list(
        await asyncio.gather(
            *(
                answer(engine, schema, sampling, prompt=f"{PROMPT}{number}", **settings)
                for number, schema in enumerate(schemas)
            )
        )
    )


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.0),
        Sampling(temperature=0.0, frequency_penalty=0.8, repetition_penalty=1.4),
    ],
    ids=["plain", "penalties"],
)
async def test_texts_are_identical_at_temperature_0(pair: Pair, sampling: Sampling) -> None:
    schemas = list(SCHEMAS.values())
    assert len(schemas) >= 20
    before = await pair.jumping.jump_forward_counts()
    stock = await answers(pair.stock, schemas, sampling)
    jumping = await answers(pair.jumping, schemas, sampling)
    after = await pair.jumping.jump_forward_counts()
    assert dict(zip(SCHEMAS, jumping, strict=True)) == dict(zip(SCHEMAS, stock, strict=True))
    # Otherwise the comparison would prove nothing.
    drafted = after["drafted"] - before["drafted"]
    assert drafted > 200
    assert 20 < after["accepted"] - before["accepted"] < drafted
    # With penalties the tiny model does not repeat itself.
    if not sampling.frequency_penalty:
        assert after["lookup_accepted"] - before["lookup_accepted"] > 20


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 4, 5, 8, 13])
async def test_max_tokens_may_end_within_a_forced_run(pair: Pair, max_tokens: int) -> None:
    schema = SCHEMAS["long keys"]
    sampling = Sampling(temperature=0.0)
    stock = await answer(pair.stock, schema, sampling, max_tokens=max_tokens)
    assert stock.finish_reason is FinishReason.LENGTH
    assert stock.tokens == max_tokens
    assert await answer(pair.jumping, schema, sampling, max_tokens=max_tokens) == stock


async def test_context_may_end_within_a_forced_run(pair: Pair) -> None:
    word = len(await pair.stock.tokenize(" word"))
    for room in (3, 5, 17):
        prompt = " word" * ((CONTEXT - room) // word)
        settings: dict[str, Any] = {"prompt": prompt, "max_tokens": room}
        sampling = Sampling(temperature=0.0)
        stock = await answer(pair.stock, SCHEMAS["long keys"], sampling, **settings)
        assert await answer(pair.jumping, SCHEMAS["long keys"], sampling, **settings) == stock
        assert stock.tokens == room


async def test_prompt_cached_up_to_its_last_token(pair: Pair) -> None:
    """In this case vLLM would schedule placeholder drafts."""
    ids = (await pair.stock.tokenize(PROMPT * 10))[: 2 * 128 + 1]
    for sampling in (Sampling(temperature=0.0), Sampling(temperature=1.0, seed=5)):
        texts = []
        for engine in pair:
            for _ in range(2):
                wanted = EngineRequest(
                    f"jump-{next(_numbers)}", ids, json.dumps(SCHEMAS["cat"]), sampling, 60
                )
                texts.append("".join([delta.text async for delta in engine.generate(wanted)]))
        if sampling.temperature == 0.0:
            assert len(set(texts)) == 1
        assert all(json.loads(text) for text in texts)


CHOICES = [
    *("create_user", "create_group", "create_role", "creation", "cream", "delete_user"),
    *("delete_group", "update_user", "update_role", "upload", "list", "listen"),
]
SAMPLES = 300
DIGITS = "Choose some: 0001011100"
"""Contains all sequences of three binary digits, so prompt lookup can start at the fourth."""


FORCED: dict[str, Any] = {
    "type": "array",
    "items": {"enum": CHOICES},
    "minItems": 2,
    "maxItems": 2,
}
LOOKUP: dict[str, Any] = {"type": "string", "pattern": "^[01]{7}$"}
PLAIN = Sampling(temperature=1.0, top_p=1.0)
CUT = Sampling(temperature=0.6, top_p=0.9, top_k=40)
PENALTY = Sampling(temperature=0.2, top_p=1.0, presence_penalty=1.0)


@pytest.mark.parametrize(
    ("schema", "uses_lookup", "sampling"),
    [
        (FORCED, False, PLAIN),
        (FORCED, False, PENALTY),
        (LOOKUP, True, CUT),
        (LOOKUP, True, PENALTY),
    ],
    ids=["forced-plain", "forced-penalty", "lookup-cut", "lookup-penalty"],
)
async def test_distribution_is_the_same_at_other_temperatures(
    pair: Pair, sampling: Sampling, schema: dict[str, Any], uses_lookup: bool
) -> None:
    before = await pair.jumping.jump_forward_counts()
    counted = []
    for engine in pair:
        texts = await asyncio.gather(
            *(
                answer(engine, schema, replace(sampling, seed=number), prompt=DIGITS)
                for number in range(SAMPLES)
            )
        )
        # The number of tokens shows how the forced bytes were split.
        values = [json.loads(text.text) for text in texts]
        counted.append(
            (
                Counter(value[0] for value in values),
                Counter(value[-1] for value in values),
                Counter((value[-2], value[-1]) for value in values),
                Counter(text.tokens for text in texts),
            )
        )
    for stock, jumping in zip(*counted, strict=True):
        assert homogeneous(stock, jumping), (stock, jumping)
    after = await pair.jumping.jump_forward_counts()
    # Otherwise the comparison would prove nothing.
    assert len(counted[0][-2]) > 1
    spent = {name: after[name] - before[name] for name in after}
    if uses_lookup:
        assert SAMPLES / 2 < spent["lookup_accepted"] < spent["lookup_drafted"]
    else:
        assert spent["drafted"] - spent["lookup_drafted"] > SAMPLES


def homogeneous(one: Counter[Any], other: Counter[Any]) -> bool:
    """Pearson's chi-square test of homogeneity at a level of about 1 in 30,000.

    Categories with fewer than 10 samples in total are merged. The bound is Wilson's and Hilferty's
    approximation of the quantile of the chi-square distribution.
    """
    rare = {value for value in one | other if one[value] + other[value] < 10}
    table = [(one[value], other[value]) for value in (one | other) if value not in rare]
    table.append((sum(one[value] for value in rare), sum(other[value] for value in rare)))
    totals = (one.total(), other.total())
    statistic = 0.0
    for row in table:
        for seen, total in zip(row, totals, strict=True):
            expected = sum(row) * total / sum(totals)
            statistic += (seen - expected) ** 2 / expected if expected else 0.0
    freedom = max(1, len(table) - 1)
    spread = 2 / (9 * freedom)
    return statistic < freedom * (1 - spread + 4.0 * math.sqrt(spread)) ** 3


def test_homogeneity_test_can_fail() -> None:
    assert homogeneous(Counter(a=300, b=300), Counter(a=310, b=290))
    assert not homogeneous(Counter(a=300, b=300), Counter(a=400, b=200))


async def test_same_seed_gives_the_same_text_with_chunked_and_cached_prompts(pair: Pair) -> None:
    """Unpatched vLLM does not survive a chunked prompt on a CPU; the later prompts are cached."""
    sampling = Sampling(temperature=1.0, seed=7)
    for engine in pair:
        texts = [
            await answer(engine, SCHEMAS["function"], sampling, prompt=f"Once more. {PROMPT * 4}")
            for _ in range(3)
        ]
        assert len(set(texts)) == 1


async def test_cancelled_requests_leave_nothing_and_do_not_affect_others(pair: Pair) -> None:
    engine = pair.jumping
    endless = {"type": "array", "items": SCHEMAS["long keys"], "minItems": 50}
    expected = await answer(engine, SCHEMAS["function"], Sampling(temperature=0.0))

    async def abandon(after: int) -> None:
        ids = await engine.tokenize(PROMPT)
        wanted = EngineRequest(
            f"jump-{next(_numbers)}", ids, json.dumps(endless), Sampling(temperature=0.0), 300
        )
        async with aclosing(engine.generate(wanted)) as deltas:
            async for _ in deltas:
                after -= 1
                if after == 0:
                    break

    running = asyncio.create_task(answer(engine, SCHEMAS["function"], Sampling(temperature=0.0)))
    await asyncio.gather(*(abandon(after) for after in range(1, MAX_REQUESTS)))
    assert await running == expected
    async with asyncio.timeout(10):
        while (activity := engine.activity()).running or activity.waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_engine_reports_min_p_as_unsupported(pair: Pair) -> None:
    assert pair.stock.info.unsupported_sampling == frozenset()
    assert not pair.stock.info.jump_forward
    assert pair.jumping.info.unsupported_sampling == {"min_p"}
    assert pair.jumping.info.jump_forward
    with pytest.raises(EngineRejectedError, match="min_p"):
        await answer(pair.jumping, SCHEMAS["cat"], Sampling(temperature=1.0, min_p=0.1))


@pytest.fixture
async def real() -> AsyncIterator[VllmEngine]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from genir_server.engine.vllm.start import start_vllm_engine

        # Without prompt lookup, so that forced tokens alone account for the savings.
        engine = await start_vllm_engine(EngineConfig(jump_forward="on", prompt_lookup=False))
    yield engine
    await engine.shutdown()


async def test_forced_tokens_cost_no_step_on_the_real_model(real: VllmEngine) -> None:
    engine = real
    assert engine.info.jump_forward
    before = await engine.jump_forward_counts()
    prompt = await engine.render_chat(
        [Message(Role.USER, "Describe a function that adds two numbers as JSON.")]
    )
    tokens = deltas = 0
    for name in ("function", "cat", "list of objects", "nested"):
        wanted = EngineRequest(
            f"saved-{name}", prompt, json.dumps(SCHEMAS[name]), Sampling(temperature=0.0), 300
        )
        async for delta in engine.generate(wanted):
            tokens += delta.token_count
            deltas += 1
    after = await engine.jump_forward_counts()
    spent = {name: after[name] - before[name] for name in after}
    assert spent["tokens"] == tokens
    assert deltas <= spent["steps"] < 0.7 * tokens
    assert spent["lookup_drafted"] == 0
    assert spent["forced_saved"] >= 0.85 * (spent["forced"] - spent["forced_with_prompt"])


REPAIR = textwrap.dedent("""
    import warnings
    warnings.simplefilter("ignore")
    from genir_server.engine.vllm.environment import prepare_environment
    assert prepare_environment()
    from vllm.platforms import current_platform
    current_platform.import_kernels()
    current_platform.register_triton_kernel_overrides()
    from vllm.v1.sample.rejection_sampler import expand_batch_to_tokens
    from genir_server.engine.patches.expand_kernel import ensure_expand_kernel, expands_correctly
    print(expands_correctly(expand_batch_to_tokens))
    ensure_expand_kernel()
    print(expands_correctly(expand_batch_to_tokens))
""")


def test_vllms_cpu_kernel_is_wrong_and_repaired() -> None:
    """When the first line says True, the patch can be removed."""
    done = subprocess.run(
        [sys.executable, "-c", REPAIR], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == ["False", "True"]
