"""vLLM arguments for the same engine that genir starts."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from genir_server.engine.config import CPU_KV_CACHE_GIB, EngineConfig
from genir_server.engine.vllm.environment import threads_environment

if TYPE_CHECKING:
    from bench.performance.subjects.base import EngineSetting

ENVIRONMENT = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": os.environ.get("VLLM_CPU_KVCACHE_SPACE", str(CPU_KV_CACHE_GIB)),
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    **threads_environment(),
}
"""Settings of genir, for the other subjects."""


def command_line(setting: EngineSetting) -> list[str]:
    """Arguments of a vLLM command: the same as `genir_server.engine.vllm.arguments` sets."""
    structured: dict[str, object] = {"backend": setting.backend}
    if setting.backend != "auto":
        structured["disable_any_whitespace"] = True
    return [
        *("--model", str(setting.model)),
        *("--served-model-name", setting.served_name),
        *("--max-model-len", str(setting.max_model_len)),
        *("--dtype", setting.dtype),
        *("--scheduling-policy", "priority"),
        *("--structured-outputs-config", json.dumps(structured)),
        *("--enable-prefix-caching", "--enforce-eager", "--disable-log-stats"),
    ]


def engine_config(setting: EngineSetting) -> EngineConfig:
    """The configuration from which genir makes vLLM's arguments."""
    return EngineConfig(
        model=str(setting.model),
        served_model_name=setting.served_name,
        structured_output_backend=setting.backend,  # type: ignore[arg-type]
        max_model_len=setting.max_model_len,
        engine_args={"dtype": setting.dtype},
    )
