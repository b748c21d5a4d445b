"""The error message when the engine cannot start, without engine processes."""

from __future__ import annotations

import platform
import shutil
import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bench.support.tiny_model import make_tiny_model
from genir_server.engine.config import EngineConfig
from genir_server.engine.embedded_model import ensure_embedded_model
from genir_server.engine.protocol import EngineStartError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")


async def failure(config: EngineConfig) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from genir_server.engine.vllm.start import start_vllm_engine

        with pytest.raises(EngineStartError) as raised:
            await start_vllm_engine(config)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"no_such_argument": 1}, "vLLM has no engine argument named no_such_argument"),
        (
            {"structured_outputs_config": {"backend": "auto"}},
            "structured_outputs_config cannot be passed through: use --structured-output-backend",
        ),
        ({"scheduling-policy": "fcfs"}, "the server depends on its own value"),
        ({"model": "other"}, "use --model"),
    ],
)
async def test_unsupported_engine_arguments_are_named(
    arguments: dict[str, Any], message: str
) -> None:
    assert message in await failure(EngineConfig(engine_args=arguments))


async def test_value_refused_by_vllm_is_named() -> None:
    message = await failure(EngineConfig(engine_args={"dtype": "float3"}))
    assert "float3" in message


async def test_folder_without_a_model_is_named(tmp_path: Path) -> None:
    assert str(tmp_path) in await failure(EngineConfig(model=str(tmp_path)))


async def test_context_longer_than_the_models_is_named() -> None:
    folder = await ensure_embedded_model()
    message = await failure(EngineConfig(model=str(folder), max_model_len=1_000_000))
    assert "1000000" in message


@pytest.mark.parametrize(
    ("capability", "own_model", "engine_args", "dtype"),
    [
        ("AVX2", False, {}, "float32"),
        ("AVX512", False, {}, "auto"),
        ("AVX2", False, {"dtype": "bfloat16"}, "bfloat16"),
        ("AVX2", True, {}, "auto"),
    ],
)
async def test_embedded_model_uses_the_faster_dtype_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
    capability: str,
    own_model: bool,
    engine_args: dict[str, Any],
    dtype: str,
) -> None:
    from genir_server.engine.vllm.environment import prepare_environment

    prepare_environment()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch

        from genir_server.engine.vllm import arguments as vllm_arguments
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    folder = str(await ensure_embedded_model())
    config = EngineConfig(model=folder if own_model else None, engine_args=engine_args)
    made = vllm_arguments.engine_arguments(config, folder, on_cpu=True)
    assert made.dtype == dtype


@pytest.mark.parametrize("backend", ["guidance", "xgrammar", "auto"])
async def test_every_backend_is_configured_for_compact_json(backend: Any) -> None:
    from genir_server.engine.vllm.environment import prepare_environment

    on_cpu = prepare_environment()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from genir_server.engine.vllm.arguments import engine_arguments, engine_configuration

        config = EngineConfig(
            structured_output_backend=backend, engine_args={"max-num-seqs": "7", "seed": 3}
        )
        folder = str(await ensure_embedded_model())
        made = engine_configuration(engine_arguments(config, folder, on_cpu=on_cpu), config)
    assert made.structured_outputs_config.backend == backend
    assert made.structured_outputs_config.disable_any_whitespace
    assert made.scheduler_config.policy == "priority"
    assert made.scheduler_config.max_num_seqs == 7
    assert made.cache_config.enable_prefix_caching


async def test_tokenizer_that_cannot_be_loaded_is_named_before_the_model_is(tmp_path: Path) -> None:
    shutil.copy(make_tiny_model() / "config.json", tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"\x0e neither sentencepiece nor tiktoken")
    message = await failure(EngineConfig(model=str(tmp_path)))
    assert f"cannot load the tokenizer of {tmp_path}" in message
    assert "--engine-args tokenizer=" in message


async def test_tokenizer_is_needed() -> None:
    message = await failure(EngineConfig(engine_args={"skip_tokenizer_init": True}))
    assert "skip_tokenizer_init cannot be used" in message


async def test_engine_that_cannot_be_used_is_shut_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from genir_server.engine.vllm import start

    ended: list[float] = []

    class Llm:
        def shutdown(self, timeout: float) -> None:
            ended.append(timeout)

    def refuse(*_: object) -> None:
        raise EngineStartError("accept this with --allow-special-tokens")

    plan = SimpleNamespace(grammar_tokenizer=None, chat=None)
    monkeypatch.setattr(start, "make_plan", lambda *_: plan)
    monkeypatch.setattr(start, "_construct", lambda *_: Llm())
    monkeypatch.setattr(start, "VllmEngine", refuse)
    message = await failure(EngineConfig(model=str(tmp_path)))
    assert message == "accept this with --allow-special-tokens"
    assert len(ended) == 1
