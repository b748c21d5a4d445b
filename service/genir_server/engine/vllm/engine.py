"""The engine: vLLM's `AsyncLLM` behind `genir_server.engine.protocol`.

The structured-output backend is verified in three places. It is set explicitly; it is read back
from vLLM's configuration before anything is loaded (`arguments`); and after the first constrained
request the engine cores report which object computes their token masks (`child_process`).
`VllmEngine.effective_backend` is that report.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from genir_server.engine.patches import WORKER_EXTENSION
from genir_server.engine.patches.resume import RESUME
from genir_server.engine.protocol import (
    EngineActivity,
    EngineDeadError,
    EngineInfo,
    EngineRejectedError,
    EngineRequest,
    RankActivity,
)
from genir_server.engine.vllm.child_process import (
    BACKEND_UTILITY,
    JUMP_FORWARD_UTILITY,
    PATCHES_UTILITY,
)
from genir_server.engine.vllm.convert import check_consumed, engine_delta, sampling_params
from genir_server.engine.vllm.errors import engine_error
from genir_server.engine.vllm.own_thread import run_in_own_thread
from genir_server.engine.vllm.processes import EngineProcesses
from genir_server.engine.vllm.resumed_text import decoder, resumed_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from vllm.v1.engine.async_llm import AsyncLLM

    from genir_server.domain.types import Message, TextDelta
    from genir_server.engine.config import EngineConfig
    from genir_server.engine.vllm.activity import ActivityRecorder
    from genir_server.engine.vllm.tokenizer import ChatTokenizer

logger = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 3.0
"""Seconds until the engine's processes are killed if they have not ended by themselves. Nothing is
lost with them, and vLLM's CPU worker sometimes takes more than ten seconds."""

COUNTS_SECONDS = 1.0
"""Seconds that the engine core has to report the counts of jump-forward at shutdown."""


class VllmEngine:
    """A running vLLM engine. Created by `start.start_vllm_engine`."""

    def __init__(
        self,
        llm: AsyncLLM,
        config: EngineConfig,
        activity: ActivityRecorder,
        tokenizer: ChatTokenizer,
    ) -> None:
        from genir_server.engine.jump_forward import config as jump_forward
        from genir_server.engine.vllm.adapters import adapter_requests

        self._llm: AsyncLLM | None = llm
        self._activity = activity
        self._tokenizer = tokenizer
        self._lora_requests = adapter_requests(config.lora_adapters)
        self._ranks = tuple(llm.engine_core.engine_ranks_managed)
        self._info = EngineInfo(
            model=config.model_name,
            lora_adapters=tuple(self._lora_requests),
            max_model_len=llm.vllm_config.model_config.max_model_len,
            configured_backend=llm.vllm_config.structured_outputs_config.backend,
            max_token_bytes=max(
                (len(token.encode()) for token in llm.get_tokenizer().get_vocab()), default=0
            ),
            # vLLM refuses min_p with any kind of speculative decoding.
            unsupported_sampling=frozenset(
                {"min_p"} if llm.vllm_config.speculative_config is not None else ()
            ),
            jump_forward=jump_forward.is_used(llm.vllm_config),
            ranks=len(self._ranks),
            # vLLM's numbers are those of one rank.
            max_running=len(self._ranks) * llm.vllm_config.scheduler_config.max_num_seqs,
            kv_cache_tokens=len(self._ranks)
            * (llm.vllm_config.cache_config.kv_cache_size_tokens or 0),
        )
        self._decode = decoder(llm.get_tokenizer())
        self._processes = EngineProcesses(_process_ids(llm))
        self._backends = dict.fromkeys(self._ranks, "")
        self._observation: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def info(self) -> EngineInfo:
        """The engine's properties, fixed from its start on."""
        return self._info

    @property
    def effective_backend(self) -> str:
        """The backend that the engine cores reported; "" before the first token."""
        return ", ".join(sorted(set(filter(None, self._backends.values()))))

    @property
    def dead(self) -> bool:
        """Whether the engine has died or was shut down."""
        return (
            self._closing is not None
            or self._llm is None
            or bool(self._llm.errored)
            or self._processes.lost()
        )

    async def wait_dead(self, seconds: float) -> bool:
        """Waits until the engine is dead, at most `seconds`; see `Engine.wait_dead`."""
        llm = self._llm
        if llm is None or self.dead:
            return True
        lost = asyncio.create_task(self._processes.wait_lost(seconds))
        try:
            # vLLM's own task ends when AsyncLLM fails, and when the engine core reports a failure,
            # which is before its process ends.
            handler = llm.output_handler
            await asyncio.wait(
                {lost, handler} if handler is not None else {lost},
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            lost.cancel()
        return self.dead

    def activity(self) -> EngineActivity:
        """The engine cores' own counts, plus the requests that are on their way to them."""
        running = self._llm is not None
        ranks = tuple(
            RankActivity(
                rank=rank,
                running=counts.running if running else 0,
                waiting=counts.waiting if running else 0,
                last_step_time=counts.last_step_time,
                kv_cache_usage=counts.kv_cache_usage if running else 0.0,
                backend=self._backends.get(rank, ""),
            )
            for rank, counts in sorted(self._activity.ranks.items())
        )
        if self._llm is None:
            return EngineActivity(ranks)
        counted = sum(rank.running + rank.waiting for rank in ranks)
        unfinished = self._llm.output_processor.get_num_unfinished_requests()
        return EngineActivity(ranks, in_transit=max(0, unfinished - counted))

    async def render_chat(self, messages: Sequence[Message]) -> list[int]:
        """The token ids of a conversation, ending where the assistant's answer begins.

        Raises:
            ValueError: the template refuses the conversation; the message says why.
            SpecialTokenError: the tokenizer cannot read a message as text.

        """
        return await self._tokenizer.render_chat(messages)

    async def tokenize(self, text: str) -> list[int]:
        """The token ids of raw text.

        Raises:
            SpecialTokenError: the tokenizer cannot read it as text.

        """
        return await self._tokenizer.tokenize(text)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        """Runs a request and yields its deltas; see `Engine.generate`."""
        from vllm import TokensPrompt

        llm = self._llm
        if llm is None or self.dead:
            raise EngineDeadError("the engine is not running")
        lora_request = None
        if request.lora_adapter:
            lora_request = self._lora_requests.get(request.lora_adapter)
            if lora_request is None:
                raise EngineRejectedError(f"no LoRA adapter is named {request.lora_adapter}")
        if (request.written_token_ids or request.consumed) and not self._info.can_resume:
            raise EngineRejectedError("this engine cannot resume a generation")
        resumed = resumed_text(self._decode, request.prompt_token_ids, request.written_token_ids)
        finished = queue_reported = False
        try:
            stream = llm.generate(
                TokensPrompt(
                    prompt_token_ids=[*request.prompt_token_ids, *request.written_token_ids]
                ),
                sampling_params(request, detokenize=resumed is None),
                request.request_id,
                lora_request=lora_request,
                priority=request.priority,
                data_parallel_rank=request.rank,
            )
            async with aclosing(stream):
                async for output in stream:
                    if not all(self._backends.values()):
                        await self._observe_backend(llm)
                    finished = output.finished
                    delta = engine_delta(output, queue_reported=queue_reported, resumed=resumed)
                    if request.consumed:
                        check_consumed(output)
                    queue_reported = queue_reported or delta.queue_seconds is not None
                    yield delta
        except Exception as error:
            typed = engine_error(error, dead=self.dead)
            finished = isinstance(typed, EngineDeadError)
            if typed is None:
                raise
            raise typed from error
        finally:
            # When cancelled, AsyncLLM aborts the request itself, except while it is still handing
            # the request over to the engine core.
            if not finished:
                await self._abort(llm, request.request_id)

    async def jump_forward_counts(self) -> dict[str, int]:
        """The current fields of `jump_forward.scheduler.JumpForwardCounts`, by name.

        Empty if jump-forward is not in use or the engine does not answer.
        """
        llm = self._llm
        if llm is None or not self._info.jump_forward or llm.errored:
            return {}
        try:
            counts = await llm.engine_core.call_utility_async(JUMP_FORWARD_UTILITY)
        except Exception as error:  # noqa: BLE001  # vLLM raises a bare Exception here.
            logger.warning("the counts of jump-forward are unknown: %s", error)
            return {}
        return dict(counts)

    async def patch_outcomes(self) -> dict[str, str]:
        """What `patch_table.fits.outcomes` gives in the engine cores and in the workers.

        The engine's start calls this, because `EngineInfo.can_resume` depends on it.
        """
        llm = self._llm
        if llm is None:
            return {}
        found: dict[str, str] = {}
        try:
            cores = await llm.engine_core.call_utility_all_async(PATCHES_UTILITY)
            resuming = all(outcomes.get(RESUME) == "" for outcomes in cores)
            self._info = replace(self._info, can_resume=resuming)
            for outcomes in cores:
                found |= outcomes
            if llm.vllm_config.parallel_config.worker_extension_cls == WORKER_EXTENSION:
                for outcomes in await llm.collective_rpc(PATCHES_UTILITY):
                    found |= outcomes
        except Exception as error:  # noqa: BLE001  # vLLM raises a bare Exception here.
            logger.warning("the patches in the engine's processes are unknown: %s", error)
        return found

    async def answer(self) -> None:
        """Waits for an answer of every engine core, which one gives between two steps.

        Workers on other nodes answer too: no process of this node notices that they have ended.
        """
        llm = self._llm
        if llm is None or self.dead:
            raise EngineDeadError("the engine is not running")
        try:
            await llm.engine_core.call_utility_all_async(BACKEND_UTILITY)
            if llm.vllm_config.parallel_config.nnodes_within_dp > 1:
                await llm.collective_rpc("check_health")
        except Exception as error:
            if self.dead:
                raise EngineDeadError("the engine died") from error
            raise

    def kill(self) -> None:
        """Kills the engine's processes, including stopped ones; see `Engine.kill`."""
        self._processes.kill()

    async def shutdown(self) -> None:
        """Ends the engine and its processes. May be called more than once."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="engine-shutdown")
        await asyncio.shield(self._closing)

    async def _abort(self, llm: AsyncLLM, request_id: str) -> None:
        if self.dead:
            return

        async def abort() -> None:
            # If the engine dies meanwhile, nothing is left to abort.
            with suppress(Exception):
                await llm.abort(request_id)

        # The calling task may be cancelled again before the abort is sent.
        await asyncio.shield(_keep(asyncio.create_task(abort())))

    async def _observe_backend(self, llm: AsyncLLM) -> None:
        if self._observation is None:
            self._observation = _keep(asyncio.create_task(self._request_backend(llm)))
        await asyncio.shield(self._observation)

    async def _request_backend(self, llm: AsyncLLM) -> None:
        try:
            backends = await llm.engine_core.call_utility_all_async(BACKEND_UTILITY)
        except Exception as error:  # noqa: BLE001  # vLLM raises a bare Exception here.
            logger.warning("the structured-output backend in use is unknown: %s", error)
            return
        finally:
            self._observation = None
        self._backends = dict(zip(self._ranks, backends, strict=True))
        configured, used = self._info.configured_backend, self.effective_backend
        if configured not in ("auto", used):
            logger.error("the engine uses the backend %s, not %s as configured", used, configured)
        elif all(backends):
            logger.info("the engine core uses the structured-output backend %s", used)

    async def _close(self) -> None:
        from vllm.platforms import current_platform
        from vllm.v1.engine.exceptions import EngineDeadError as VllmEngineDeadError

        llm = self._llm
        if llm is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(COUNTS_SECONDS):
                if counts := await self.jump_forward_counts():
                    logger.info("jump-forward: %s", counts)
        # AsyncLLM's own shutdown would leave pending requests waiting forever.
        llm.output_processor.propagate_error(VllmEngineDeadError())
        # Before the shutdown, which closes the handler's socket: it would log that as a failure.
        if (handler := llm.output_handler) is not None:
            handler.cancel()
            await asyncio.wait((handler,))
        await asyncio.to_thread(llm.shutdown, SHUTDOWN_SECONDS)
        # A stopped worker, or one whose engine core was killed, does not notice the shutdown.
        if not await asyncio.to_thread(self._processes.end, on_cpu=current_platform.is_cpu()):
            logger.error("a process of the engine could not be killed and is left behind")
        self._tokenizer.close()
        # vLLM closes its sockets in the event loop's next iteration and leaves their context open.
        await asyncio.sleep(0)
        with suppress(TimeoutError):
            await asyncio.wait_for(run_in_own_thread(llm.engine_core.resources.ctx.term), 1.0)
        # Without its context, AsyncLLM must not be used any more.
        self._llm = None


def _process_ids(llm: AsyncLLM) -> list[int]:
    """The engine cores and, with data parallelism, the process that coordinates them."""
    resources = llm.engine_core.resources
    processes = list(getattr(resources.engine_manager, "processes", ()))
    if resources.coordinator is not None:
        processes.append(resources.coordinator.proc)
    return [process.pid for process in processes]


_kept: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> asyncio.Task[None]:
    """Keeps a reference to a task until it is done: the event loop does not."""
    _kept.add(task)
    task.add_done_callback(_kept.discard)
    return task
