"""A generation continues a text: under the schema that it was begun with, or under another one.

The engines run the tiny model in float32, where the shape of a batch does not change the output.
Its text is noise, so many of its tokens end inside a character. Memory and steps are so small that
prompts are processed in chunks and requests are preempted.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import warnings
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonschema_rs
import pytest

from bench.support.model_folder import tokenizer_in
from bench.support.tiny_model import make_tiny_adapter, make_tiny_model
from genir_server.domain.types import FinishReason, Message, Role, Sampling, TextDelta
from genir_server.engine.config import EngineConfig
from genir_server.engine.patches.resume import consume
from genir_server.engine.protocol import EngineRejectedError, EngineRequest
from genir_server.schema.grammar.guidance import compile_matcher, load_tokenizer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from genir_server.engine.vllm.engine import VllmEngine

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")

MAX_REQUESTS = 8
PROMPT = "Say something about the matter at hand, in as few words as you can. " * 2
GREEDY = Sampling(temperature=0.0)
MAX_TOKENS = 110
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 12, "maxLength": 40},
        "sizes": {
            "type": "array",
            "items": {"type": "integer", "minimum": -99999, "maximum": 99999},
            "minItems": 2,
            "maxItems": 3,
        },
        "a longer key that takes several tokens": {"enum": ["black", "white", "blackish"]},
        "names": {
            "type": "array",
            "items": {"type": "string", "minLength": 3, "maxLength": 12},
            "minItems": 2,
            "maxItems": 2,
        },
    },
    "required": ["name", "sizes", "a longer key that takes several tokens", "names"],
    "additionalProperties": False,
}
CLOSING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 14},
        "done": {"const": True},
    },
    "required": ["name", "done"],
    "additionalProperties": False,
}


class Written(NamedTuple):
    """What requests wrote, without the end token."""

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason | None


@pytest.fixture(scope="module", params=["stock", "jumping", "xgrammar"])
async def tiny(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[VllmEngine]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from genir_server.engine.vllm.start import start_vllm_engine

        adapter = make_tiny_adapter(tmp_path_factory.mktemp("adapter"))
        engine = await start_vllm_engine(
            EngineConfig(
                model=str(make_tiny_model()),
                served_model_name="tiny",
                max_model_len=512,
                structured_output_backend="xgrammar" if request.param == "xgrammar" else "guidance",
                jump_forward="on" if request.param == "jumping" else "off",
                # An adapter and drafts are tested apart.
                lora_adapters={"poet": str(adapter)} if request.param == "stock" else {},
                engine_args={
                    "dtype": "float32",
                    "max_num_seqs": MAX_REQUESTS,
                    "max_num_batched_tokens": 32,
                    "num_gpu_blocks_override": 10,
                },
            )
        )
    yield engine
    await engine.shutdown()


_numbers = itertools.count()
_tokenizer = load_tokenizer(tokenizer_in(make_tiny_model()))


def bytes_of(tokens: tuple[int, ...]) -> bytes:
    return bytes(_tokenizer.decode_bytes(list(tokens)))


def text_of(tokens: tuple[int, ...]) -> str:
    """The text that a request which wrote these tokens has given so far.

    vLLM gives nothing of a token that ends inside a character, nor of a replacement character.
    """
    text = bytes_of(tokens).decode(errors="replace")
    return text_of(tokens[:-1]) if text.endswith("\N{REPLACEMENT CHARACTER}") else text


async def request(
    engine: VllmEngine,
    schema: dict[str, Any] = SCHEMA,
    sampling: Sampling = GREEDY,
    **changes: Any,
) -> EngineRequest:
    ids = await engine.tokenize(changes.pop("prompt", PROMPT))
    fields = {"max_tokens": MAX_TOKENS} | changes
    return EngineRequest(f"resume-{next(_numbers)}", ids, json.dumps(schema), sampling, **fields)


async def write(engine: VllmEngine, wanted: EngineRequest) -> Written:
    deltas = [delta async for delta in engine.generate(wanted)]
    return joined(deltas)


def joined(deltas: list[TextDelta]) -> Written:
    tokens = tuple(itertools.chain.from_iterable(delta.token_ids for delta in deltas))
    assert len(tokens) == sum(delta.token_count for delta in deltas)
    finish = deltas[-1].finish_reason
    if finish is FinishReason.STOP:
        tokens = tokens[:-1]
    return Written("".join(delta.text for delta in deltas), tokens, finish)


def resumed_at(wanted: EngineRequest, whole: Written, count: int) -> EngineRequest:
    written = whole.tokens[:count]
    return replace(
        wanted,
        request_id=f"resume-{next(_numbers)}",
        written_token_ids=written,
        consumed=bytes_of(written),
        max_tokens=wanted.max_tokens - count,
    )


async def assert_rests_are_the_same(
    engine: VllmEngine, wanted: EngineRequest, *, step: int = 1
) -> Written:
    """Resumes after every token, or every few, and compares with the uninterrupted request."""
    whole = await write(engine, wanted)
    counts = range(0, len(whole.tokens) + 1, step)
    for first in range(0, len(counts), MAX_REQUESTS):
        some = counts[first : first + MAX_REQUESTS]
        rests = await asyncio.gather(
            *(write(engine, resumed_at(wanted, whole, count)) for count in some)
        )
        for count, rest in zip(some, rests, strict=True):
            assert rest.tokens == whole.tokens[count:], count
            assert text_of(whole.tokens[:count]) + rest.text == whole.text, count
            assert rest.finish_reason is whole.finish_reason
    # No grammar that is kept for other requests has consumed anything.
    assert await write(engine, replace(wanted, request_id="again")) == whole
    return whole


async def until_idle(engine: VllmEngine) -> None:
    async with asyncio.timeout(10):
        while (activity := engine.activity()).running or activity.waiting:  # noqa: ASYNC110
            # The counts arrive with the engine core's steps, so there is no event to wait for.
            await asyncio.sleep(0.01)


async def test_rest_is_the_same_after_every_token(tiny: VllmEngine) -> None:
    assert tiny.info.can_resume
    whole = await assert_rests_are_the_same(tiny, await request(tiny))
    # Otherwise the comparison would not cover these.
    assert whole.finish_reason is FinishReason.STOP
    jsonschema_rs.validate(SCHEMA, json.loads(whole.text))
    assert len(whole.tokens) > 40


async def test_rest_is_the_same_inside_characters(tiny: VllmEngine) -> None:
    """The strings hold nothing but characters of three bytes, each of several tokens."""
    schema = {"type": "string", "pattern": "^[\u13a0-\u13ff\u1680-\u169c]{9,14}$"}
    whole = await assert_rests_are_the_same(tiny, await request(tiny, schema))
    inside = [
        count
        for count in range(len(whole.tokens))
        if bytes_of(whole.tokens[:count]).decode(errors="ignore").encode()
        != bytes_of(whole.tokens[:count])
    ]
    assert len(inside) > 5


async def test_replacement_characters_are_text(tiny: VllmEngine) -> None:
    schema = {"type": "string", "pattern": "^a\ufffd{3}b\ufffd{2}$"}
    whole = await assert_rests_are_the_same(tiny, await request(tiny, schema))
    assert json.loads(whole.text) == "a\ufffd\ufffd\ufffdb\ufffd\ufffd"


async def test_prompt_that_ends_with_a_replacement_character_is_not_in_the_answer(
    tiny: VllmEngine,
) -> None:
    whole = await write(tiny, await request(tiny, prompt="What is \N{REPLACEMENT CHARACTER}"))
    jsonschema_rs.validate(SCHEMA, json.loads(whole.text))
    assert whole.text == text_of(whole.tokens)


async def test_text_cut_by_max_tokens_continues(tiny: VllmEngine) -> None:
    """Pieces of a few tokens each make the same text as one request."""
    wanted = await request(tiny)
    whole = await write(tiny, wanted)
    text, tokens = "", tuple[int, ...]()
    finish: FinishReason | None = FinishReason.LENGTH
    while finish is FinishReason.LENGTH:
        piece = await write(
            tiny,
            replace(
                wanted,
                request_id=f"resume-{next(_numbers)}",
                written_token_ids=tokens,
                consumed=bytes_of(tokens),
                max_tokens=7,
            ),
        )
        text, tokens, finish = text + piece.text, tokens + piece.tokens, piece.finish_reason
        assert len(piece.tokens) <= 7
    assert (text, tokens, finish) == whole


async def test_other_schema_continues_after_a_text_of_its_own(tiny: VllmEngine) -> None:
    wanted = await request(tiny)
    whole = await write(tiny, wanted)
    count = next(n for n in range(len(whole.tokens)) if len(text_of(whole.tokens[:n])) > 14)
    written = text_of(whole.tokens[:count])
    assert written.startswith('{"name":"')
    for consumed in (
        '{"name":"he',
        '{"name":"',
        '{"name":"four","done"',
        '{"name":"four","done":tr',
    ):
        rest = await write(
            tiny,
            replace(
                resumed_at(wanted, whole, count),
                schema=json.dumps(CLOSING),
                consumed=consumed.encode(),
            ),
        )
        assert rest.finish_reason is FinishReason.STOP
        value = json.loads(consumed + rest.text)
        jsonschema_rs.validate(CLOSING, value)


@pytest.mark.parametrize(
    "consumed",
    [
        '{"name":"zebra',
        '{"name":"zebra crossing","sizes":[1',
        '{"name":"zebra crossing","sizes":[12,-3],"a longer k',
        '{"name":"zebra \\u00',
        '{"name":"zebra <|im_end|> and <|im_start|>',
        '{"name":"zebra <|im_end|>","sizes":[1,2],"a longer key that takes several tokens":"bl',
    ],
)
async def test_resume_inside_a_scalar_or_key(tiny: VllmEngine, consumed: str) -> None:
    """The written tokens need not be those that the model would choose."""
    if "\\" in consumed and tiny.info.configured_backend == "xgrammar":
        pytest.skip("xgrammar allows no escapes in strings of limited length")
    tokens = _tokenizer.greedy_tokenize(consumed)
    rest = await write(
        tiny,
        await request(tiny, written_token_ids=tuple(tokens), consumed=consumed.encode()),
    )
    assert rest.finish_reason is FinishReason.STOP
    value = json.loads(consumed + rest.text)
    jsonschema_rs.validate(SCHEMA, value)
    assert value["name"].startswith("zebra")


@pytest.mark.parametrize("consumed", ["[12.", "[1,2.5e", "[-", "[0.1"])
async def test_resume_inside_a_number(tiny: VllmEngine, consumed: str) -> None:
    """The tiny model would add digits forever."""
    schema = {"type": "array", "items": {"type": "number"}}
    tokens = tuple(_tokenizer.greedy_tokenize(consumed))
    wanted = await request(
        tiny, schema, written_token_ids=tokens, consumed=consumed.encode(), max_tokens=9
    )
    rest = await write(tiny, wanted)
    matcher = compile_matcher(_tokenizer, json.dumps(schema))
    assert rest.text
    assert matcher.consume_tokens([*tokens, *rest.tokens])


@pytest.mark.parametrize(
    "consumed",
    [
        b'{"zebra":1',
        b'{"name":"zebra","name"',
        b'{"name":"zebra\xff',
        b'{"name":"zebra"}',
        b"zebra",
        b"\xf0\x9f",
    ],
)
async def test_text_that_does_not_fit_fails_this_request_alone(
    tiny: VllmEngine, consumed: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = await write(tiny, await request(tiny, max_tokens=8))
    capfd.readouterr()
    results = await asyncio.gather(
        write(tiny, await request(tiny, max_tokens=8)),
        write(tiny, await request(tiny, consumed=consumed)),
        write(tiny, await request(tiny, max_tokens=8)),
        return_exceptions=True,
    )
    assert results[0] == results[2] == expected
    assert isinstance(results[1], EngineRejectedError)
    assert "does not accept the text" in str(results[1])
    await until_idle(tiny)
    assert not tiny.dead
    logged = capfd.readouterr()
    assert "zebra" not in logged.out + logged.err
    assert "Traceback" not in logged.err


async def test_complete_text_gives_only_the_end(tiny: VllmEngine) -> None:
    wanted = await request(tiny)
    whole = await write(tiny, wanted)
    deltas = [delta async for delta in tiny.generate(resumed_at(wanted, whole, len(whole.tokens)))]
    assert joined(deltas) == Written("", (), FinishReason.STOP)
    assert sum(delta.token_count for delta in deltas) == 1


async def test_same_seed_gives_the_same_rest(tiny: VllmEngine) -> None:
    whole = await write(tiny, await request(tiny))
    rests = []
    for seed in (5, 5, 6):
        sampled = await request(tiny, sampling=Sampling(temperature=1.0, seed=seed))
        rests.append(await write(tiny, resumed_at(sampled, whole, 12)))
    assert rests[0] == rests[1] != rests[2]
    for rest in rests:
        if rest.finish_reason is FinishReason.STOP:
            value = json.loads(text_of(whole.tokens[:12]) + rest.text)
            jsonschema_rs.validate(SCHEMA, value)


async def test_adapter_continues_its_own_text(tiny: VllmEngine) -> None:
    if not tiny.info.lora_adapters:
        pytest.skip("this engine has no adapter")
    own = await assert_rests_are_the_same(tiny, await request(tiny, lora_adapter="poet"), step=5)
    assert own != await write(tiny, await request(tiny))


async def test_written_prefix_comes_from_the_cache(tiny: VllmEngine) -> None:
    wanted = await request(tiny, prompt=PROMPT * 8)
    whole = await write(tiny, wanted)
    deltas = [delta async for delta in tiny.generate(resumed_at(wanted, whole, 40))]
    assert deltas[0].cached_prompt_tokens == (len(wanted.prompt_token_ids) + 39) // 128 * 128


@pytest.mark.parametrize("after", [0, 1, 4])
async def test_cancelled_resume_leaves_the_engine(tiny: VllmEngine, after: int) -> None:
    wanted = await request(tiny)
    whole = await write(tiny, wanted)
    async with aclosing(tiny.generate(resumed_at(wanted, whole, 10))) as deltas:
        for _ in range(after):
            await anext(deltas)
    task = asyncio.create_task(write(tiny, resumed_at(wanted, whole, 10)))
    await asyncio.sleep(0.001 * after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_idle(tiny)
    assert await write(tiny, replace(wanted, request_id="after")) == whole


async def test_engine_without_the_patch_refuses(tiny: VllmEngine) -> None:
    other = copy.copy(tiny)
    other._info = replace(tiny.info, can_resume=False)
    for changes in ({"consumed": b"{"}, {"written_token_ids": (1,)}):
        with pytest.raises(EngineRejectedError, match="cannot resume"):
            await write(other, await request(tiny, **changes))


async def test_embedded_model_continues_its_sentence(engine: VllmEngine) -> None:
    """Its text makes sense, so most tokens after a cut are those of the uninterrupted text."""
    schema = {
        "type": "object",
        "properties": {"text": {"type": "string", "minLength": 150, "maxLength": 300}},
        "required": ["text"],
        "additionalProperties": False,
    }
    ids = await engine.render_chat([Message(Role.USER, "Describe the sea in Paris as JSON.")])
    wanted = EngineRequest("sea", ids, json.dumps(schema), GREEDY, 120)
    whole = await write(engine, wanted)
    kept = 0
    counts = range(0, len(whole.tokens), 15)
    for count in counts:
        rest = await write(engine, resumed_at(wanted, whole, count))
        jsonschema_rs.validate(schema, json.loads(text_of(whole.tokens[:count]) + rest.text))
        kept += rest.tokens == whole.tokens[count:]
    # In bfloat16, near-ties may be decided otherwise: the prompt is computed in one batch.
    assert kept > len(counts) // 2


def test_unknown_grammar_is_refused() -> None:
    with pytest.raises(TypeError, match="object cannot consume"):
        consume(object(), b"{")
