"""What the core asks of an engine. Imports neither vllm nor torch.

`genir_server.engine.vllm.engine` is the implementation; the core and every other module know only
this protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from genir_server.domain.types import Message, Sampling, TextDelta


class EngineDeadError(Exception):
    """The engine died or was shut down; no later call will succeed."""


class EngineRejectedError(Exception):
    """The engine refused a request that had passed our checks. The message is the engine's."""


class EngineStartError(Exception):
    """The engine could not start. The message tells an operator what to change."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What is fixed once the engine is up.

    `max_model_len` is the context: most tokens of prompt and completion together.
    `configured_backend` is the structured-output backend read back from the engine's own
    configuration. `tokenizer_source` is the folder or name the tokenizer came from.
    `max_token_bytes` is a number of bytes that no token of the vocabulary exceeds; 0 where that
    is not known. `max_running` is the most requests that one step works on, and `kv_cache_tokens`
    how many tokens of running requests the engine has memory for; 0 where that is not known.
    `unsupported_sampling` names the fields of `Sampling` that this engine takes at their defaults
    only. `jump_forward` says whether forced tokens cost no step of their own.
    """

    model: str
    lora_adapters: tuple[str, ...]
    max_model_len: int
    configured_backend: str
    tokenizer_source: str = ""
    max_token_bytes: int = 0
    unsupported_sampling: frozenset[str] = frozenset()
    jump_forward: bool = False

    max_running: int = 0
    kv_cache_tokens: int = 0


@dataclass(frozen=True, slots=True)
class EngineActivity:
    """Requests running and waiting in the engine; `last_step_time` is Unix time in seconds."""

    running: int
    waiting: int
    last_step_time: float | None


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One generation. `request_id` must be unique among those in flight.

    `schema` is the text of the JSON Schema that decoding enforces; the schema package has compiled
    it for the model's tokenizer. `priority`: lower goes first. `tokens_per_delta`: how many tokens
    a delta waits for, 1 and up; see `Engine.generate`.
    """

    request_id: str
    prompt_token_ids: Sequence[int]
    schema: str
    sampling: Sampling
    max_tokens: int
    priority: int = 0
    lora_adapter: str = ""
    tokens_per_delta: int = 1


class Engine(Protocol):
    """A language model under constrained decoding."""

    @property
    def info(self) -> EngineInfo:
        """What is fixed once the engine is up."""
        ...

    @property
    def effective_backend(self) -> str:
        """The structured-output backend that the engine really uses; "" while not yet known."""
        ...

    @property
    def dead(self) -> bool:
        """Whether the engine has died."""
        ...

    async def wait_dead(self, seconds: float) -> bool:
        """Waits until the engine is dead, but no longer than `seconds`; gives whether it is."""
        ...

    def activity(self) -> EngineActivity:
        """How busy the engine is. Never blocks."""
        ...

    async def render_chat(self, messages: Sequence[Message]) -> list[int]:
        """The token ids of a conversation, opened for the assistant's answer.

        Uses the model's own chat template, or a plain one. Does not block the event loop.

        Raises:
            ValueError: the template refuses the conversation; the message says why.

        """
        ...

    async def tokenize(self, text: str) -> list[int]:
        """The token ids of raw text. Does not block the event loop."""
        ...

    def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        """Runs a request and yields what the model writes.

        The first token comes at once, then a delta whenever `EngineRequest.tokens_per_delta` tokens
        are there, and the end at once. What was written while nobody asked for the next delta
        comes as one.

        However the generator ends (exhausted, closed, cancelled, failed), nothing of the request
        stays in the engine.

        Raises:
            EngineDeadError: the engine died before the request finished.
            EngineRejectedError: the engine refused the request.

        """
        ...

    async def answer(self) -> None:
        """Returns when the engine's own process has answered, which it does between two steps.

        Raises:
            EngineDeadError: the engine is dead.

        """
        ...

    def kill(self) -> None:
        """Ends the engine's processes at once, stopped ones too. `shutdown` has to follow."""
        ...

    async def shutdown(self) -> None:
        """Ends the engine and its processes. May be called more than once."""
        ...
