"""What an operator chooses about the engine. Imports neither vllm nor torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

StructuredOutputBackend = Literal["guidance", "xgrammar", "auto"]
JumpForwardMode = Literal["auto", "on", "off"]

EMBEDDED_MODEL_NAME = "smollm2-135m-instruct"
"""The name that callers know the embedded model by."""

EMBEDDED_MAX_MODEL_LEN = 4096
"""Context of the embedded model in tokens, unless another is asked for; it was made for 8192."""

CPU_KV_CACHE_GIB = 2
"""Memory for the KV cache on a CPU, in GiB, unless ``VLLM_CPU_KVCACHE_SPACE`` says otherwise."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The engine to start.

    Attributes:
        model: a folder or a name that vLLM can load; None means the embedded model.
        served_model_name: what callers call the model; None derives it from `model`.
        structured_output_backend: what constrains decoding; "auto" leaves it to vLLM, whose first
            constrained request then decides for all.
        max_model_len: context in tokens; None means `EMBEDDED_MAX_MODEL_LEN` for the embedded
            model and the model's own for any other.
        lora_adapters: name of each LoRA adapter to serve, and the folder it is in.
        jump_forward: whether tokens that the grammar forces are proposed to the model instead of
            costing a step each: "auto" where that is known to pay, "on" wherever it can be done.
        prompt_lookup: whether, where jump-forward is on and nothing is forced, what came before
            after the same tokens is proposed.
        fork_engine: whether, on a CPU, the engine's processes are forked from one that imports vLLM
            beside the server; see `genir_server.engine.cpu_fork.fork_server`.
        engine_args: any further argument of vLLM's ``AsyncEngineArgs``, by name.
        cache_dir: folder for the embedded model; None means the user's cache folder.
        configure_process_logging: called first thing in each of the engine's own processes, to
            send their log through the same pipe as the server's. It is sent there by pickle, so it
            must be a module's function or a `functools.partial` of one. None leaves the processes
            with plain lines on standard error.

    """

    model: str | None = None
    served_model_name: str | None = None
    structured_output_backend: StructuredOutputBackend = "guidance"
    max_model_len: int | None = None
    lora_adapters: Mapping[str, str] = field(default_factory=dict)
    jump_forward: JumpForwardMode = "off"
    prompt_lookup: bool = True
    fork_engine: bool = True
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    cache_dir: Path | None = None
    configure_process_logging: Callable[[], None] | None = None

    @property
    def model_name(self) -> str:
        """The name that callers know the model by."""
        return self.served_model_name or self.model or EMBEDDED_MODEL_NAME
