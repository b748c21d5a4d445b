"""Starting vLLM beside a running event loop.

Starting takes half a minute, half of it vLLM's import here, and the rest in other processes. What
this process has to do for it runs in a thread, so the server goes on answering meanwhile;
`AsyncLLM` starts its own tasks when the event loop first asks it for something.
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

from genir_server.engine.cpu_fork import fork_server as core_template
from genir_server.engine.cpu_fork.library_preload import preload_libraries
from genir_server.engine.embedded_model import ensure_embedded_model
from genir_server.engine.patches.grammar_cache import trust_checked_schemas
from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.activity import ActivityRecorder
from genir_server.engine.vllm.child_process import EngineProcessConfig
from genir_server.engine.vllm.engine import SHUTDOWN_SECONDS, VllmEngine
from genir_server.engine.vllm.environment import installed_vllm, prepare_environment
from genir_server.engine.vllm.own_thread import run_in_own_thread
from genir_server.engine.vllm.start_fault import StartFault, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm.config import VllmConfig
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    from genir_server.engine.config import EngineConfig

logger = logging.getLogger(__name__)

_KV_CACHE_BYTES = "kv_cache_memory_bytes"

THREAD_STACK_BYTES = 64 << 20
"""Stack of the threads in which vLLM checks schemas; the usual 8 MiB overflow, which kills the
process, on a deeply nested one."""


async def start_vllm_engine(config: EngineConfig) -> VllmEngine:
    """Starts vLLM and returns once it takes requests. Does not block the event loop.

    Cancelling it does not stop a start that is under way: the engine is then shut down as soon as
    it is up.

    Raises:
        EngineStartError: with one line that tells an operator what to change.

    """
    model_path = config.model
    if model_path is None:
        # Unpacking is slow; a wrong installation should be named before it.
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
    engine = VllmEngine(llm, config, activity)
    # The first thing asked of it from the event loop starts the task that notices its death.
    await llm.get_supported_tasks()
    _settle()
    return engine


def _settle() -> None:
    """Makes cheap, for this process, what vLLM does with each token: its own processes do the same.

    It reads environment variables, and leaves garbage to a collector that would look through all of
    vLLM's modules again and again.
    """
    from vllm.envs import enable_envs_cache

    enable_envs_cache()
    gc.collect()
    gc.freeze()


def _construct(config: EngineConfig, model_path: str, activity: ActivityRecorder) -> AsyncLLM:
    on_cpu = prepare_environment(sized=_KV_CACHE_BYTES in config.engine_args)
    # How it goes on an accelerator has not been tried.
    from_template = on_cpu and config.fork_engine
    preload_libraries()
    # Applies to threads made from here on, in this whole process: vLLM's among them.
    threading.stack_size(THREAD_STACK_BYTES)
    # The tracker's start unblocks SIGINT in the thread that starts it, so that comes first.
    multiprocessing.resource_tracker.ensure_running()
    # Ctrl-C in a terminal goes to the whole process group. The server drains then, for which it
    # needs its engine; a process starts with the signal mask of the thread that started it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if from_template:
        core_template.begin_template()

    with _no_collections():
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.executor import Executor

        from genir_server.engine.vllm.arguments import engine_arguments

    _look_at_environment_again()
    arguments = engine_arguments(config, model_path, on_cpu=on_cpu)
    vllm_config = _configuration(arguments, config, on_cpu=on_cpu)
    trust_checked_schemas()
    fault = StartFault()
    vllm_config.additional_config = EngineProcessConfig(
        vllm_config.additional_config, config.configure_process_logging, fault.path
    )
    # Prompts go in as plain token ids on purpose: that way the schema is checked in a thread of
    # vLLM's, and not on the event loop.
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
        # Memory nodes are bound by a program that vLLM starts instead of the core's own.
        if from_template and not vllm_config.parallel_config.numa_bind:
            return core_template.with_forked_core(construct)
        return construct()
    except Exception as error:  # vLLM raises whatever its parts raise.
        raise EngineStartError(
            f"vLLM could not start {config.model_name}: {fault.read() or one_line(error)}"
        ) from error
    finally:
        fault.close()


@contextmanager
def _no_collections() -> Iterator[None]:
    """Keeps the garbage collector from looking through modules again and again while they load."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _look_at_environment_again() -> None:
    """Undoes what `_settle` did for an engine before this one."""
    from vllm.envs import disable_envs_cache

    disable_envs_cache()


def _configuration(arguments: AsyncEngineArgs, config: EngineConfig, *, on_cpu: bool) -> VllmConfig:
    """The configuration of vLLM, with jump-forward where that is wanted and can be had."""
    from genir_server.engine.jump_forward import config as jump_forward
    from genir_server.engine.vllm.arguments import engine_configuration

    reason = jump_forward.refusal(config, arguments, on_cpu=on_cpu)
    if not reason:
        try:
            jumping = jump_forward.with_jump_forward(arguments, prompt_lookup=config.prompt_lookup)
            made = engine_configuration(jumping, config)
        except EngineStartError as error:
            # Whatever else is wrong, vLLM will say again.
            reason = str(error)
        else:
            jump_forward.lift_drafting_limit(made)
            logger.info(
                "jump-forward is on: forced tokens cost no step of their own%s",
                ", and repetitions are guessed" if config.prompt_lookup else "",
            )
            return made
    logger.log(
        logging.WARNING if config.jump_forward == "on" else logging.INFO,
        "jump-forward is off: %s",
        reason,
    )
    return engine_configuration(arguments, config)
