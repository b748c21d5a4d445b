"""Runs this node's part of an engine whose server is on another node.

Either the node has workers of an engine core that is elsewhere (tensor and pipeline parallelism
over nodes), or engine cores of its own (data parallelism), which connect to the server.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
from dataclasses import replace
from typing import TYPE_CHECKING

from genir_server.engine.vllm.child_process import engine_processes
from genir_server.engine.vllm.first_node import connect_to_first_node, server_is_gone
from genir_server.engine.vllm.own_thread import run_in_own_thread
from genir_server.engine.vllm.place import has_workers_only
from genir_server.engine.vllm.preflight import block_server_signals
from genir_server.engine.vllm.processes import EngineProcesses
from genir_server.engine.vllm.start import plan_of
from genir_server.engine.vllm.start_fault import one_start_error

if TYPE_CHECKING:
    from vllm.config import ParallelConfig, VllmConfig
    from vllm.v1.engine.utils import CoreEngineProcManager
    from vllm.v1.executor.multiproc_executor import MultiprocExecutor

    from genir_server.engine.config import EngineConfig

logger = logging.getLogger(__name__)

_CHECK_SECONDS = 2.0
"""Seconds between two checks that the server of data-parallel ranks is there."""


class NodeLostError(Exception):
    """A process of this node's part of the engine has ended; the message names it."""


async def run_node(config: EngineConfig) -> None:
    """Starts this node's part of the engine and waits for its end. Cancelling does not end it.

    Its processes end with this process, however it ends; `end_processes` ends them at once.

    Args:
        config: the operator's choices, the same as the server's.

    Raises:
        EngineStartError: it cannot start; one line says what to change.
        NodeLostError: it has ended.

    """
    # Only the engine core of a server is forked.
    config = replace(config, headless=True, fork_engine=False)
    plan = await plan_of(config)
    # A node renders no prompts.
    plan.chat.close()
    configuration = plan.vllm_config
    run = _run_workers if has_workers_only(configuration) else _run_cores
    await run_in_own_thread(lambda: run(config, configuration))


def end_processes() -> None:
    """Kills this node's part of the engine, stopped processes included, and waits for its end."""
    started = [process.pid for process in multiprocessing.active_children() if process.pid]
    if not started:
        return
    from vllm.platforms import current_platform

    if not EngineProcesses(started).end(on_cpu=current_platform.is_cpu()):
        logger.error("a process of the engine could not be killed and is left behind")


def _run_workers(config: EngineConfig, configuration: VllmConfig) -> None:
    from vllm.v1.executor.multiproc_executor import MultiprocExecutor

    block_server_signals()
    parallel = configuration.parallel_config
    logger.info(
        "this node has rank %d of %d, the first node is at %s:%d",
        parallel.node_rank,
        parallel.nnodes,
        parallel.master_addr,
        parallel.master_port,
    )
    with (
        one_start_error(config.model_name) as fault,
        engine_processes(config.process_log, fault),
    ):
        # It returns when the workers have loaded the model.
        executor = MultiprocExecutor(configuration, monitor_workers=False)
    logger.info("the workers of this node are ready")
    raise NodeLostError(_first_loss(executor, parallel))


def _first_loss(executor: MultiprocExecutor, parallel: ParallelConfig) -> str:
    """Waits until a worker of this node or the first node has ended, and says which.

    A worker whose first node has ended waits for the next step forever: the queue between them
    would connect again by itself.
    """
    sentinels = [worker.proc.sentinel for worker in executor.workers]
    address = f"{parallel.master_addr}:{parallel.master_port}"
    try:
        connection = connect_to_first_node(parallel.master_addr, parallel.master_port)
    except OSError as error:
        return f"the first node, {address}, has ended: {error}"
    with connection:
        ended = multiprocessing.connection.wait([*sentinels, connection])
    if connection in ended:
        return f"the first node, {address}, has ended, or has lost its engine"
    return "a worker of this node has ended"


def _run_cores(config: EngineConfig, configuration: VllmConfig) -> None:
    from vllm.utils.network_utils import get_tcp_uri
    from vllm.v1.engine.utils import CoreEngineProcManager
    from vllm.v1.executor import Executor

    block_server_signals()
    parallel = configuration.parallel_config
    address = get_tcp_uri(parallel.data_parallel_master_ip, parallel.data_parallel_rpc_port)
    logger.info(
        "this node has %d of %d data-parallel ranks, from rank %d on, the server is at %s",
        parallel.data_parallel_size_local,
        parallel.data_parallel_size,
        parallel.data_parallel_rank,
        address,
    )
    # Nothing tells when a core is ready, so the cause of a failed start goes to the log.
    with engine_processes(config.process_log):
        cores = CoreEngineProcManager(
            local_engine_count=parallel.data_parallel_size_local,
            start_index=parallel.data_parallel_rank,
            local_start_index=0,
            vllm_config=configuration,
            local_client=False,
            handshake_address=address,
            executor_class=Executor.get_class(configuration),
            log_stats=False,
        )
    raise NodeLostError(_first_end(cores, parallel.data_parallel_master_ip))


def _first_end(cores: CoreEngineProcManager, server: str) -> str:
    """Waits until a core or the server has ended, and says which."""
    gone = server_is_gone(server, [process.pid for process in cores.processes])
    while not multiprocessing.connection.wait(cores.sentinels(), _CHECK_SECONDS):
        if next(gone):
            return f"the server at {server} has ended, or has lost its engine"
    ended = ", ".join(
        f"{name} (exit code {code})" for name, code in sorted(cores.finished_procs().items())
    )
    return f"engine processes of this node have ended: {ended}"
