"""Starts vLLM beside a running event loop.

A start takes about half a minute: half of it for vLLM's import in this process, the rest in other
processes. A thread does this process's part, so the server stays responsive. `AsyncLLM` starts its
own tasks when the event loop first calls it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from genir_server.engine.cpu_fork.fork_server import fork_engine_core
from genir_server.engine.embedded_model import ensure_embedded_model
from genir_server.engine.patches.checked_schemas import skip_checked_schemas
from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.activity import ActivityRecorder
from genir_server.engine.vllm.child_process import engine_processes
from genir_server.engine.vllm.coordinator import coordinator_ends_with_server
from genir_server.engine.vllm.engine import SHUTDOWN_SECONDS, VllmEngine
from genir_server.engine.vllm.environment import installed_vllm
from genir_server.engine.vllm.folders import check_folders
from genir_server.engine.vllm.load_progress import watched_load
from genir_server.engine.vllm.own_thread import run_in_own_thread
from genir_server.engine.vllm.preflight import block_server_signals, make_plan
from genir_server.engine.vllm.start_fault import one_start_error
from genir_server.patch_table.fits import applies, outcomes, summary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vllm.v1.engine.async_llm import AsyncLLM

    from genir_server.domain.grammar_tokenizer import GrammarTokenizer
    from genir_server.engine.config import EngineConfig
    from genir_server.engine.vllm.preflight import Plan

logger = logging.getLogger(__name__)

_FORKING = ("fork server", "forked engine core", "forked worker")
_SAMPLING = ("seeded sampling on CPUs", "top_p on CPUs")


async def _nothing(_: GrammarTokenizer) -> None:
    pass


async def start_vllm_engine(
    config: EngineConfig, planned: Callable[[GrammarTokenizer], Awaitable[None]] = _nothing
) -> VllmEngine:
    """Starts vLLM and returns once it accepts requests. Does not block the event loop.

    If it is cancelled, the start continues, and the engine is shut down as soon as it has started.

    Args:
        config: the operator's choices.
        planned: called when all checks have passed, before the model is loaded.

    Raises:
        EngineStartError: the engine cannot start; one line says what to change.

    """
    plan = await plan_of(config)
    await planned(plan.grammar_tokenizer)
    activity = ActivityRecorder()
    async with watched_load(config.on_progress) as progress:
        started = asyncio.ensure_future(
            run_in_own_thread(lambda: _construct(config, plan, activity, progress))
        )
        try:
            llm = await asyncio.shield(started)
        except asyncio.CancelledError:
            with suppress(EngineStartError):
                late = await started
                await asyncio.to_thread(late.shutdown, SHUTDOWN_SECONDS)
            raise
    from genir_server.engine.vllm.adapters import load_adapters

    try:
        # It reads the whole vocabulary.
        engine = await asyncio.to_thread(VllmEngine, llm, config, activity, plan.chat)
        await load_adapters(llm, config.lora_adapters)
        # The first call from the event loop starts the task that notices the engine's death.
        await llm.get_supported_tasks()
        _reduce_cost_per_token()
        logger.info("%s", summary(outcomes() | await engine.patch_outcomes(), _off(config, engine)))
    except BaseException:
        # Nobody else knows this engine yet.
        await asyncio.to_thread(llm.shutdown, SHUTDOWN_SECONDS)
        raise
    return engine


async def check_vllm_engine(
    config: EngineConfig, planned: Callable[[GrammarTokenizer], Awaitable[None]] = _nothing
) -> dict[str, str]:
    """Runs the checks of a start without loading the model.

    Args:
        config: the operator's choices.
        planned: called with the tokenizer when all checks have passed.

    Returns:
        What was found, by what it is about.

    Raises:
        EngineStartError: the engine could not start; one line says what to change.

    """
    # Nothing will be forked.
    plan = await plan_of(replace(config, fork_engine=False))
    await planned(plan.grammar_tokenizer)
    from genir_server.engine.vllm.findings import findings

    try:
        return await findings(config, plan)
    finally:
        plan.chat.close()


async def plan_of(config: EngineConfig) -> Plan:
    """What `make_plan` gives, without blocking the event loop.

    Args:
        config: the operator's choices.

    Raises:
        EngineStartError: the engine could not start; one line says what to change.

    """
    await asyncio.to_thread(check_folders, config.model, config.lora_adapters)
    model_path = config.model
    if model_path is None:
        # Unpacking is slow, so a missing vLLM is reported first.
        installed_vllm()
        model_path = str(await ensure_embedded_model(config.cache_dir))
    return await run_in_own_thread(lambda: make_plan(config, model_path))


def _off(config: EngineConfig, engine: VllmEngine) -> dict[str, str]:
    """The patches that a setting or the platform turns off, and why."""
    from vllm.platforms import current_platform

    off: dict[str, str] = {}
    if not config.fork_engine:
        off |= dict.fromkeys(_FORKING, "--no-fork-engine")
    if {"worker_extension_cls", "worker-extension-cls"} & config.engine_args.keys():
        off |= dict.fromkeys(_SAMPLING, "--engine-args worker_extension_cls")
    if not current_platform.is_cpu():
        off |= dict.fromkeys((*_FORKING, *_SAMPLING, "draft sampling on CPUs"), "only on CPUs")
    if not engine.info.jump_forward:
        off |= dict.fromkeys(("jump-forward", "draft sampling on CPUs"), "jump-forward is off")
    return off


def _reduce_cost_per_token() -> None:
    """Removes work that vLLM does for every token in this process; its own processes do the same.

    vLLM reads environment variables for each token. The garbage that it creates would make the
    collector search all of vLLM's modules.
    """
    if applies("environment cache"):
        from vllm.envs import enable_envs_cache

        enable_envs_cache()
    gc.collect()
    gc.freeze()


def _construct(
    config: EngineConfig, plan: Plan, activity: ActivityRecorder, progress: str
) -> AsyncLLM:
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.executor import Executor

    block_server_signals()
    vllm_config = plan.vllm_config
    skip_checked_schemas()
    # Prompts are passed as plain token ids on purpose: vLLM then checks the schema in one of its
    # threads and not on the event loop.
    logging.getLogger("vllm.v1.engine.input_processor").addFilter(
        lambda record: "Passing raw prompts" not in record.getMessage()
    )

    def construct() -> AsyncLLM:
        with coordinator_ends_with_server():
            return AsyncLLM(
                vllm_config=vllm_config,
                executor_class=Executor.get_class(vllm_config),
                log_stats=False,
                log_requests=False,
                stat_loggers=[activity.factory],
            )

    with (
        one_start_error(config.model_name) as fault,
        engine_processes(config.process_log, fault, progress),
    ):
        # With numa_bind, vLLM starts the engine core through another program.
        if plan.forking and not vllm_config.parallel_config.numa_bind:
            return fork_engine_core(construct)
        return construct()
