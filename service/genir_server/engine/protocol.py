"""The interface of an engine. Imports neither vllm nor torch.

`genir_server.engine.vllm.engine` implements it; all other packages use only this protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from genir_server.domain.types import Message, Sampling, TextDelta


END_SECONDS = 80.0
"""Seconds within which `Engine.shutdown` ends, the release of an accelerator's memory included."""


class EngineDeadError(Exception):
    """The engine died or was shut down; no later call will succeed."""


class EngineRejectedError(Exception):
    """The engine refused a request that passed genir's checks. The message is the engine's."""


class EngineUnavailableError(Exception):
    """The engine could not take or finish a request now. The same request may succeed later."""


class SpecialTokenError(Exception):
    """A text has the name of a special token, which the tokenizer cannot read as text."""


class EngineStartError(Exception):
    """The engine could not start. The message tells an operator what to change."""


class LoadStage(StrEnum):
    """What an engine that starts is busy with, in order; documented at `genir.v1.LoadStage`."""

    WEIGHTS = "weights"
    COMPILATION = "compilation"
    GRAPHS = "graphs"


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far an engine's start has come: `done` of `total`, which is 1 or more, in `unit`."""

    stage: LoadStage
    done: int
    total: int
    unit: str


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The properties of a running engine.

    Attributes:
        model: the model's name for callers.
        lora_adapters: names of the LoRA adapters.
        max_model_len: the context: maximum tokens of prompt and completion together.
        configured_backend: the structured-output backend in the engine's own configuration.
        max_token_bytes: upper bound on the bytes of a single token; 0 if unknown.
        unsupported_sampling: fields of `Sampling` that must keep their defaults.
        jump_forward: whether tokens that the grammar forces are drafted.
        ranks: number of data-parallel ranks, each with its own scheduler and KV cache.
        max_running: maximum requests in one step of all ranks; 0 if unknown.
        kv_cache_tokens: maximum tokens of running requests in the KV caches of all ranks; 0 if
            unknown.
        can_resume: whether a request may have `written_token_ids` and `consumed`.

    """

    model: str
    lora_adapters: tuple[str, ...]
    max_model_len: int
    configured_backend: str
    max_token_bytes: int = 0
    unsupported_sampling: frozenset[str] = frozenset()
    jump_forward: bool = False
    ranks: int = 1
    max_running: int = 0
    kv_cache_tokens: int = 0
    can_resume: bool = False


@dataclass(frozen=True, slots=True)
class RankActivity:
    """What one data-parallel rank of the engine last reported.

    Attributes:
        rank: its number.
        running: requests that it processes.
        waiting: requests in its queue.
        last_step_time: when it finished its last step, as Unix time in seconds; None before.
        kv_cache_usage: the part of its KV cache in use, 0 to 1.
        backend: the structured-output backend that it uses; "" until that is known.

    """

    rank: int = 0
    running: int = 0
    waiting: int = 0
    last_step_time: float | None = None
    kv_cache_usage: float = 0.0
    backend: str = ""


@dataclass(frozen=True, slots=True)
class EngineActivity:
    """The work of all ranks.

    Attributes:
        ranks: every rank in order; one without data parallelism.
        in_transit: requests that no rank has counted yet.

    """

    ranks: tuple[RankActivity, ...]
    in_transit: int = 0

    @property
    def running(self) -> int:
        """Requests that any rank processes."""
        return sum(rank.running for rank in self.ranks)

    @property
    def waiting(self) -> int:
        """Requests that wait for a rank, or on their way to one."""
        return sum(rank.waiting for rank in self.ranks) + self.in_transit

    @property
    def last_step_time(self) -> float | None:
        """When the last rank to finish a step did so; None before the first."""
        return max((rank.last_step_time or 0.0 for rank in self.ranks), default=0.0) or None


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One generation.

    Attributes:
        request_id: unique among the requests in flight.
        prompt_token_ids: the prompt.
        schema: text of the JSON Schema that decoding enforces. The schema package must have
            compiled it for the model's tokenizer.
        sampling: how tokens are chosen.
        max_tokens: maximum number of new tokens.
        priority: requests with a lower value are scheduled first.
        lora_adapter: name of the LoRA adapter; "" for none.
        tokens_per_delta: number of tokens that a delta waits for, at least 1; see
            `Engine.generate`.
        rank: the data-parallel rank to run on, below `EngineInfo.ranks`; None for the engine's
            choice.
        written_token_ids: tokens of the completion that an earlier request wrote, without an end
            token. The model continues after them. To `frequency_penalty` and `presence_penalty`
            they are a part of the prompt.
        consumed: text that the schema's grammar consumes before the first new token; may end
            inside a character. Under the schema of the earlier request this is the text of
            `written_token_ids`; under another one it is any text that brings the grammar to the
            right place.

    """

    request_id: str
    prompt_token_ids: Sequence[int]
    schema: str
    sampling: Sampling
    max_tokens: int
    priority: int = 0
    lora_adapter: str = ""
    tokens_per_delta: int = 1
    rank: int | None = None
    written_token_ids: Sequence[int] = ()
    consumed: bytes = b""


class Engine(Protocol):
    """A language model under constrained decoding."""

    @property
    def info(self) -> EngineInfo:
        """The engine's properties, fixed from its start on."""
        ...

    @property
    def effective_backend(self) -> str:
        """The structured-output backend that the engine actually uses; "" until it is known.

        Each rank's own is in `activity`.
        """
        ...

    @property
    def dead(self) -> bool:
        """Whether the engine has died."""
        ...

    async def wait_dead(self, seconds: float) -> bool:
        """Waits until the engine is dead, but no longer than `seconds`; returns whether it is."""
        ...

    def activity(self) -> EngineActivity:
        """The engine's counts of requests. Never blocks."""
        ...

    async def render_chat(self, messages: Sequence[Message]) -> list[int]:
        """The token ids of a conversation, ending where the assistant's answer begins.

        Uses the model's own chat template, or a plain one. The names of special tokens in a message
        are text. Does not block the event loop.

        Raises:
            ValueError: the template refuses the conversation; the message says why.
            SpecialTokenError: the tokenizer cannot read a message as text.

        """
        ...

    async def tokenize(self, text: str) -> list[int]:
        """The token ids of raw text, in which the names of special tokens are text.

        Does not block the event loop.

        Raises:
            SpecialTokenError: the tokenizer cannot read it as text.

        """
        ...

    def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        """Runs a request and yields what the model writes.

        The first token and the end are yielded immediately, deltas in between whenever
        `EngineRequest.tokens_per_delta` tokens are there. Tokens that arrive while the caller does
        not read are joined into one delta.

        Text inside a character is held back until the character is complete. A request that
        continues after such tokens begins with the whole character, so the texts of both requests
        together are that of all tokens.

        The request leaves the engine however the generator ends: exhausted, closed, cancelled or
        failed.

        Raises:
            EngineDeadError: the engine died before the request finished.
            EngineRejectedError: the engine refused the request, or its grammar does not accept
                `consumed`.
            EngineUnavailableError: the engine could not run the request now.

        """
        ...

    async def answer(self) -> None:
        """Waits for an answer of every rank, which a rank gives between two steps.

        Raises:
            EngineDeadError: the engine is dead.

        """
        ...

    def kill(self) -> None:
        """Kills the engine's processes, including stopped ones. `shutdown` has to follow."""
        ...

    async def shutdown(self) -> None:
        """Ends the engine and its processes within `END_SECONDS`. May be called more than once."""
        ...
