"""vLLM arguments for the same engine that genir starts."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from genir_server.engine.config import CPU_KV_CACHE_GIB, EngineConfig
from genir_server.engine.vllm.environment import installed_vllm, threads_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.performance.subjects.base import EngineSetting


def on_cpu() -> bool:
    """Whether the installed vLLM runs on a CPU."""
    _, cpu_build = installed_vllm()
    return cpu_build


def environment() -> dict[str, str]:
    """Settings of genir, for the other subjects."""
    common = {
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    if not on_cpu():
        return common
    space = os.environ.get("VLLM_CPU_KVCACHE_SPACE", str(CPU_KV_CACHE_GIB))
    return {
        **common,
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_KVCACHE_SPACE": space,
        **threads_environment(),
    }


def command_line(setting: EngineSetting) -> list[str]:
    """Arguments of a vLLM command: the same as `genir_server.engine.vllm.arguments` sets."""
    structured: dict[str, object] = {"backend": setting.backend}
    if setting.backend != "auto":
        structured["disable_any_whitespace"] = True
    return [
        *("--model", setting.model),
        *("--served-model-name", setting.served_name),
        *("--max-model-len", str(setting.max_model_len)),
        *("--dtype", setting.dtype),
        *("--scheduling-policy", "priority"),
        *("--structured-outputs-config", json.dumps(structured)),
        *("--enable-prefix-caching", "--disable-log-stats"),
        *(("--enforce-eager",) if on_cpu() else ()),
        *further_options(setting.engine_args),
    ]


def further_options(engine_args: Mapping[str, Any]) -> list[str]:
    """Engine arguments as options of a vLLM command."""
    options: list[str] = []
    for name, value in engine_args.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        else:
            options += [f"--{option}", value if isinstance(value, str) else json.dumps(value)]
    return options


def engine_config(setting: EngineSetting) -> EngineConfig:
    """The configuration from which genir makes vLLM's arguments."""
    return EngineConfig(
        model=setting.model,
        served_model_name=setting.served_name,
        structured_output_backend=setting.backend,  # type: ignore[arg-type]
        max_model_len=setting.max_model_len,
        engine_args={"dtype": setting.dtype, **setting.engine_args},
    )
