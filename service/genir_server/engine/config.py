"""The operator's choices for the engine. Imports neither vllm nor torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from genir_server.engine.model_name import public_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from genir_server.engine.protocol import LoadProgress

StructuredOutputBackend = Literal["guidance", "xgrammar", "auto"]
JumpForwardMode = Literal["auto", "on", "off"]

EMBEDDED_MODEL_NAME = "smollm2-135m-instruct"
"""The embedded model's name for callers."""

EMBEDDED_MAX_MODEL_LEN = 4096
"""Default context of the embedded model in tokens. The model itself allows 8192."""

CPU_KV_CACHE_GIB = 2
"""Default memory for the KV cache on a CPU, in GiB; ``VLLM_CPU_KVCACHE_SPACE`` overrides it."""


@dataclass(frozen=True, slots=True)
class LogSetup:
    """A function of a module and its arguments. Plain data, because other processes call it."""

    module: str
    function: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The engine to start.

    Attributes:
        model: folder or name of a model that vLLM can load; None means the embedded model.
        served_model_name: the model's name for callers; None derives it from `model`, see
            `genir_server.engine.model_name`.
        structured_output_backend: the backend that constrains decoding. With "auto", vLLM chooses
            one for its first constrained request and keeps it.
        max_model_len: context in tokens; None means `EMBEDDED_MAX_MODEL_LEN` for the embedded model
            and the model's own value for any other.
        lora_adapters: name and folder of each LoRA adapter to serve.
        jump_forward: whether tokens that the grammar forces are proposed as drafts instead of
            taking a step each: "auto" where this is known to be faster, "on" wherever possible.
        prompt_lookup: whether jump-forward also drafts by prompt lookup where nothing is forced.
        fork_engine: whether, on a CPU, the engine's processes are forked from a fork server; see
            `genir_server.engine.cpu_fork`.
        start_timeout: seconds after which vLLM itself gives up a start.
        headless: whether this is a peer, on another node, of the engine of a server.
        allow_special_tokens: whether the names of special tokens in callers' texts are read as
            these tokens, not as text.
        engine_args: further arguments of vLLM's ``AsyncEngineArgs``, by name.
        cache_dir: folder for the embedded model; None means the user's cache folder.
        process_log: sets up the log of each of the engine's processes, so that it goes through the
            server's pipe. None gives plain lines on standard error.
        on_progress: called in the event loop with the progress of the load.

    """

    model: str | None = None
    served_model_name: str | None = None
    structured_output_backend: StructuredOutputBackend = "guidance"
    max_model_len: int | None = None
    lora_adapters: Mapping[str, str] = field(default_factory=dict)
    jump_forward: JumpForwardMode = "off"
    prompt_lookup: bool = True
    fork_engine: bool = True
    start_timeout: float = 3600.0
    headless: bool = False
    allow_special_tokens: bool = False
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    cache_dir: Path | None = None
    process_log: LogSetup | None = None
    on_progress: Callable[[LoadProgress], None] | None = None

    @property
    def model_name(self) -> str:
        """The model's name for callers, which is never a path."""
        if self.served_model_name:
            return self.served_model_name
        return EMBEDDED_MODEL_NAME if self.model is None else public_name(self.model)
