"""When jump-forward is used, and the reason in the log when it is not, without engine processes."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from genir_server.engine.config import EngineConfig
from genir_server.engine.embedded_model import ensure_embedded_model
from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.environment import prepare_environment

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")


@pytest.fixture(scope="module")
def jump_forward() -> ModuleType:
    prepare_environment()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from genir_server.engine.jump_forward import config as jump_forward
        from genir_server.engine.vllm import arguments as vllm_arguments

        assert vllm_arguments
    return jump_forward


async def off_reason(jump_forward: ModuleType, config: EngineConfig, *, on_cpu: bool = True) -> str:
    from genir_server.engine.vllm.arguments import engine_arguments

    arguments = engine_arguments(config, str(await ensure_embedded_model()), on_cpu=on_cpu)
    reason: str = jump_forward.off_reason(config, arguments, on_cpu=on_cpu)
    return reason


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_installed_vllm_fits(jump_forward: ModuleType, mode: Any) -> None:
    assert await off_reason(jump_forward, EngineConfig(jump_forward=mode)) == ""


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (EngineConfig(), "--jump-forward is off"),
        (EngineConfig(jump_forward="auto", structured_output_backend="xgrammar"), "not xgrammar"),
        (EngineConfig(jump_forward="auto", structured_output_backend="auto"), "not auto"),
        (
            EngineConfig(
                jump_forward="auto",
                engine_args={
                    "speculative_config": '{"method": "ngram", "num_speculative_tokens": 2}'
                },
            ),
            "speculative_config",
        ),
        (
            EngineConfig(jump_forward="auto", engine_args={"scheduler_cls": "some.Scheduler"}),
            "scheduler_cls",
        ),
        (
            EngineConfig(jump_forward="auto", engine_args={"async_scheduling": "true"}),
            "async_scheduling",
        ),
        (
            EngineConfig(jump_forward="auto", engine_args={"pipeline_parallel_size": "2"}),
            "pipeline parallelism",
        ),
        (
            EngineConfig(jump_forward="auto", engine_args={"data_parallel_size": "2"}),
            "data-parallel ranks",
        ),
    ],
)
async def test_reason_names_the_obstacle(
    jump_forward: ModuleType, config: EngineConfig, reason: str
) -> None:
    assert reason in await off_reason(jump_forward, config)


async def test_auto_is_off_on_an_accelerator(jump_forward: ModuleType) -> None:
    assert "--jump-forward on" in await off_reason(
        jump_forward, EngineConfig(jump_forward="auto"), on_cpu=False
    )
    assert await off_reason(jump_forward, EngineConfig(jump_forward="on"), on_cpu=False) == ""


async def test_changed_scheduler_disables_jump_forward(
    jump_forward: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from vllm.v1.core.sched.scheduler import Scheduler

    from genir_server.engine.vllm.arguments import engine_arguments
    from genir_server.engine.vllm.preflight import _configuration

    monkeypatch.delattr(Scheduler, "update_draft_token_ids")
    config = EngineConfig(jump_forward="on")
    arguments = engine_arguments(config, str(await ensure_embedded_model()), on_cpu=True)
    with caplog.at_level(logging.INFO, "genir_server"):
        made, off = _configuration(arguments, config, on_cpu=True)
    assert not jump_forward.is_used(made)
    assert off in caplog.text
    assert made.speculative_config is None
    ours = [record for record in caplog.records if record.name.startswith("genir_server")]
    reason = (
        "this version of vLLM does not fit it (vllm.v1.core.sched.scheduler:Scheduler has no "
        "update_draft_token_ids)"
    )
    assert [record.message for record in ours] == [f"jump-forward is off: {reason}"]
    assert ours[0].levelno == logging.WARNING


@pytest.mark.parametrize(
    ("prompt_lookup", "scheduler"),
    [(True, "PromptLookupScheduler"), (False, "JumpForwardScheduler")],
)
async def test_vllm_is_configured_for_jump_forward(
    jump_forward: ModuleType, prompt_lookup: bool, scheduler: str
) -> None:
    from genir_server.engine.vllm.arguments import engine_arguments
    from genir_server.engine.vllm.preflight import _configuration

    config = EngineConfig(jump_forward="auto", prompt_lookup=prompt_lookup)
    arguments = engine_arguments(config, str(await ensure_embedded_model()), on_cpu=True)
    made, off = _configuration(arguments, config, on_cpu=True)
    assert off == ""
    assert jump_forward.is_used(made)
    assert made.scheduler_config.scheduler_cls.endswith(f".{scheduler}")
    assert not made.scheduler_config.async_scheduling
    assert made.speculative_config.num_speculative_tokens == jump_forward.MAX_DRAFTS
    # The model's own limit stays.
    assert made.model_config.max_model_len == 4096
    assert made.speculative_config.draft_model_config.max_model_len > 4096


async def test_on_is_refused_with_data_parallelism(jump_forward: ModuleType) -> None:
    """`auto` only goes without; see `test_reason_names_the_obstacle`."""
    from genir_server.engine.vllm.arguments import engine_arguments
    from genir_server.engine.vllm.preflight import _configuration

    ranks = {"data_parallel_size": "2"}
    config = EngineConfig(jump_forward="on", engine_args=ranks)
    arguments = engine_arguments(config, str(await ensure_embedded_model()), on_cpu=True)
    with pytest.raises(EngineStartError, match=r"data_parallel_size.*leave it at auto"):
        _configuration(arguments, config, on_cpu=True)
    assert not jump_forward.refusal(EngineConfig(jump_forward="auto"), arguments)


async def test_batch_sizes_are_those_of_vllms_own_server(jump_forward: ModuleType) -> None:
    """Peers on other nodes, which vLLM starts, have these too."""
    from genir_server.engine.vllm.arguments import engine_arguments, engine_configuration

    assert jump_forward
    config = EngineConfig(engine_args={"tensor_parallel_size": "3"})
    arguments = engine_arguments(config, str(await ensure_embedded_model()), on_cpu=True)
    scheduler = engine_configuration(arguments, config).scheduler_config
    assert (scheduler.max_num_seqs, scheduler.max_num_batched_tokens) == (384, 6144)
