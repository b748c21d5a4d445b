"""The engine: vLLM's `AsyncLLM`, seen through `genir_server.engine.protocol`.

The structured-output backend is looked at three times: what is asked for is set explicitly, it is
read back from vLLM's configuration before anything is loaded (`vllm_arguments`), and after the
first constrained request the engine core is asked which object makes its token masks
(`engine_process`); `VllmEngine.effective_backend` is that last answer.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from genir_server.engine.protocol import (
    EngineActivity,
    EngineDeadError,
    EngineInfo,
    EngineRejectedError,
    EngineRequest,
)
from genir_server.engine.vllm.child_process import BACKEND_UTILITY, JUMP_FORWARD_UTILITY
from genir_server.engine.vllm.convert import engine_delta, sampling_params
from genir_server.engine.vllm.own_thread import run_in_own_thread
from genir_server.engine.vllm.processes import EngineProcesses
from genir_server.engine.vllm.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from vllm.v1.engine.async_llm import AsyncLLM

    from genir_server.domain.types import Message, TextDelta
    from genir_server.engine.config import EngineConfig
    from genir_server.engine.vllm.activity import ActivityRecorder

logger = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 3.0
"""How long the engine's processes get to end by themselves before they are killed. Nothing is lost
with them, and vLLM's CPU worker has been seen to take more than ten seconds."""

COUNTS_SECONDS = 1.0
"""How long the engine core gets at the end to say what jump-forward saved."""


class VllmEngine:
    """A running vLLM engine. Made by `vllm_start.start_vllm_engine`."""

    def __init__(self, llm: AsyncLLM, config: EngineConfig, activity: ActivityRecorder) -> None:
        from vllm.lora.request import LoRARequest

        from genir_server.engine.jump_forward import config as jump_forward

        self._llm: AsyncLLM | None = llm
        self._activity = activity
        self._tokenizer = ChatTokenizer(llm.get_tokenizer())
        self._lora_requests = {
            name: LoRARequest(name, number, folder)
            for number, (name, folder) in enumerate(sorted(config.lora_adapters.items()), start=1)
        }
        self._info = EngineInfo(
            model=config.model_name,
            lora_adapters=tuple(self._lora_requests),
            max_model_len=llm.vllm_config.model_config.max_model_len,
            configured_backend=llm.vllm_config.structured_outputs_config.backend,
            tokenizer_source=llm.vllm_config.model_config.tokenizer,
            max_token_bytes=max(
                (len(token.encode()) for token in llm.get_tokenizer().get_vocab()), default=0
            ),
            # vLLM's own rule for every kind of speculative decoding.
            unsupported_sampling=frozenset(
                {"min_p"} if llm.vllm_config.speculative_config is not None else ()
            ),
            jump_forward=jump_forward.is_used(llm.vllm_config),
            max_running=llm.vllm_config.scheduler_config.max_num_seqs,
            kv_cache_tokens=llm.vllm_config.cache_config.kv_cache_size_tokens or 0,
        )
        manager = llm.engine_core.resources.engine_manager
        self._processes = EngineProcesses(
            process.pid for process in getattr(manager, "processes", ())
        )
        self._effective_backend = ""
        self._observation: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def info(self) -> EngineInfo:
        """What is fixed now that the engine is up."""
        return self._info

    @property
    def effective_backend(self) -> str:
        """The backend that the engine core said it uses; "" before its first token."""
        return self._effective_backend

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
        """Waits until the engine is dead, `seconds` at most; see `Engine.wait_dead`."""
        llm = self._llm
        if llm is None or self.dead:
            return True
        lost = asyncio.create_task(self._processes.wait_lost(seconds))
        try:
            # vLLM's own task ends when the core says that it has failed, before its process does,
            # and when AsyncLLM has.
            handler = llm.output_handler
            await asyncio.wait(
                {lost, handler} if handler is not None else {lost},
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            lost.cancel()
        return self.dead

    def activity(self) -> EngineActivity:
        """The engine core's own counts, plus what is on its way there."""
        if self._llm is None:
            return EngineActivity(0, 0, self._activity.last_step_time)
        running = self._activity.running
        on_the_way = self._llm.output_processor.get_num_unfinished_requests() - running
        return EngineActivity(
            running=running,
            waiting=max(self._activity.waiting, on_the_way),
            last_step_time=self._activity.last_step_time,
        )

    async def render_chat(self, messages: Sequence[Message]) -> list[int]:
        """The token ids of a conversation, opened for the assistant's answer.

        Raises:
            ValueError: the template refuses the conversation; the message says why.

        """
        return await self._tokenizer.render_chat(messages)

    async def tokenize(self, text: str) -> list[int]:
        """The token ids of raw text."""
        return await self._tokenizer.tokenize(text)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        """Runs a request and yields what the model writes; see `Engine.generate`."""
        from vllm import TokensPrompt
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine import exceptions as engine_exceptions

        llm = self._llm
        if llm is None or self.dead:
            raise EngineDeadError("the engine is not running")
        lora_request = None
        if request.lora_adapter:
            lora_request = self._lora_requests.get(request.lora_adapter)
            if lora_request is None:
                raise EngineRejectedError(f"no LoRA adapter is named {request.lora_adapter}")
        finished = queue_told = False
        try:
            stream = llm.generate(
                TokensPrompt(prompt_token_ids=list(request.prompt_token_ids)),
                sampling_params(request),
                request.request_id,
                lora_request=lora_request,
                priority=request.priority,
            )
            async with aclosing(stream):
                async for output in stream:
                    if not self._effective_backend:
                        await self._observe_backend(llm)
                    finished = output.finished
                    delta = engine_delta(output, queue_told=queue_told)
                    queue_told = queue_told or delta.queue_seconds is not None
                    yield delta
        except engine_exceptions.EngineDeadError as error:
            finished = True
            raise EngineDeadError("the engine died") from error
        except VLLMClientError as error:
            raise EngineRejectedError(str(error)) from error
        except engine_exceptions.EngineGenerateError as error:
            if self.dead:
                raise EngineDeadError("the engine died") from error
            if isinstance(error.__cause__, VLLMClientError):
                raise EngineRejectedError(str(error.__cause__)) from error
            raise
        finally:
            # AsyncLLM aborts by itself when it is cancelled, but not if that happens while it is
            # still handing the request over.
            if not finished:
                await self._abort(llm, request.request_id)

    async def jump_forward_counts(self) -> dict[str, int]:
        """The fields of `jump_forward_scheduler.JumpForwardCounts`, as they stand.

        Empty where jump-forward is not in use, or the engine is not there to ask.
        """
        llm = self._llm
        if llm is None or not self._info.jump_forward or llm.errored:
            return {}
        try:
            counts = await llm.engine_core.call_utility_async(JUMP_FORWARD_UTILITY)
        except Exception as error:  # noqa: BLE001  # vLLM raises a bare Exception here.
            logger.warning("the counts of jump-forward are not known: %s", error)
            return {}
        return dict(counts)

    async def answer(self) -> None:
        """Returns when the engine core has answered, between two steps of its loop."""
        llm = self._llm
        if llm is None or self.dead:
            raise EngineDeadError("the engine is not running")
        try:
            await llm.engine_core.call_utility_async(BACKEND_UTILITY)
        except Exception as error:
            if self.dead:
                raise EngineDeadError("the engine died") from error
            raise

    def kill(self) -> None:
        """Ends the engine's processes at once, stopped ones too; see `Engine.kill`."""
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
            # An engine that dies meanwhile has nothing left to abort.
            with suppress(Exception):
                await llm.abort(request_id)

        # Whoever is being cancelled here may be cancelled again before the abort is sent.
        await asyncio.shield(_keep(asyncio.create_task(abort())))

    async def _observe_backend(self, llm: AsyncLLM) -> None:
        if self._observation is None:
            self._observation = _keep(asyncio.create_task(self._ask_for_backend(llm)))
        await asyncio.shield(self._observation)

    async def _ask_for_backend(self, llm: AsyncLLM) -> None:
        try:
            backend = await llm.engine_core.call_utility_async(BACKEND_UTILITY)
        except Exception as error:  # noqa: BLE001  # vLLM raises a bare Exception here.
            logger.warning("the structured-output backend in use is not known: %s", error)
            return
        finally:
            self._observation = None
        self._effective_backend = backend
        asked = self._info.configured_backend
        if asked not in ("auto", backend):
            logger.error("the engine uses the backend %s, not %s as configured", backend, asked)
        else:
            logger.info("the engine core uses the structured-output backend %s", backend)

    async def _close(self) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError as VllmEngineDeadError

        llm = self._llm
        if llm is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(COUNTS_SECONDS):
                if counts := await self.jump_forward_counts():
                    logger.info("jump-forward: %s", counts)
        # AsyncLLM's own shutdown would leave whoever waits for a token waiting for ever.
        llm.output_processor.propagate_error(VllmEngineDeadError())
        await asyncio.to_thread(llm.shutdown, SHUTDOWN_SECONDS)
        # A worker that was stopped, or whose core was killed, hears of none of this.
        self._processes.kill()
        if not await asyncio.to_thread(self._processes.wait, SHUTDOWN_SECONDS):
            logger.error("a process of the engine is left behind: it could not be killed")
        self._tokenizer.close()
        # vLLM closes its sockets in the event loop's next turn and leaves their context open.
        await asyncio.sleep(0)
        with suppress(TimeoutError):
            await asyncio.wait_for(run_in_own_thread(llm.engine_core.resources.ctx.term), 1.0)
        # Nothing of it may be used from here on: the context is gone.
        self._llm = None


_kept: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> asyncio.Task[None]:
    """Holds a task until it is done: the event loop itself does not."""
    _kept.add(task)
    task.add_done_callback(_kept.discard)
    return task
