"""What genir uses of vLLM: the imports and calls in its sources, and attributes of vLLM's objects.

The patch table lists vLLM's internals. This module lists the rest, most of it read from the
sources. `OBJECTS` names what cannot be read there: attributes and methods of objects that vLLM
returns.
"""

from __future__ import annotations

import ast
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.domain.types import Sampling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Use:
    """One use of a name of vLLM.

    Attributes:
        name: module and attribute, as in `patch_table.table.Touch`.
        where: the file that uses it.
        fields: attributes that it must have.
        positional: number of positional arguments that it is called with, without `self`.
        keywords: keywords that it is called with.

    """

    name: str
    where: str
    fields: tuple[str, ...] = ()
    positional: int = 0
    keywords: tuple[str, ...] = ()


def _object(name: str, *fields: str) -> Use:
    return Use(name, "OBJECTS", fields=fields)


_ASYNC_LLM = "vllm.v1.engine.async_llm:AsyncLLM"

OBJECTS = (
    _object(
        _ASYNC_LLM,
        *("vllm_config", "engine_core", "output_processor", "abort", "collective_rpc"),
        *("get_tokenizer", "get_supported_tasks", "add_lora"),
    ),
    Use(f"{_ASYNC_LLM}.generate", "OBJECTS", (), 3, ("lora_request", "priority")),
    Use(f"{_ASYNC_LLM}.shutdown", "OBJECTS", (), 1),
    Use(
        "vllm.engine.arg_utils:AsyncEngineArgs.create_engine_config",
        "OBJECTS",
        (),
        1,
        ("headless",),
    ),
    Use(
        "vllm.engine.arg_utils:AsyncEngineArgs",
        "OBJECTS",
        keywords=(
            *("model", "served_model_name", "scheduling_policy", "structured_outputs_config"),
            *("enable_prefix_caching", "disable_log_stats", "use_tqdm_on_load", "max_model_len"),
            *("enforce_eager", "dtype", "worker_extension_cls", "enable_lora", "scheduler_cls"),
            *("speculative_config", "async_scheduling", "pipeline_parallel_size"),
            *("reasoning_parser", "kv_cache_memory_bytes", "logging_config"),
            *("max_lora_rank", "max_loras"),
        ),
    ),
    Use(
        "vllm.sampling_params:SamplingParams",
        "OBJECTS",
        keywords=tuple(field.name for field in dataclasses.fields(Sampling)),
    ),
    _object(
        "vllm.config:VllmConfig",
        *("model_config", "structured_outputs_config", "speculative_config", "scheduler_config"),
        *("cache_config", "parallel_config", "additional_config", "lora_config"),
    ),
    _object("vllm.config.lora:LoRAConfig", "max_lora_rank"),
    _object("vllm.lora.peft_helper:PEFTHelper", "r", "rank_pattern", "validate_legal"),
    _object("vllm.config:ModelConfig", "max_model_len", "tokenizer", "model"),
    _object("vllm.config:ModelConfig", "hf_config", "get_vocab_size", "is_multimodal_model"),
    _object("vllm.tokenizers.mistral:MistralTokenizer", "tokenizer"),
    _object("vllm.config:SchedulerConfig", "max_num_seqs", "policy", "scheduler_cls"),
    _object("vllm.config:CacheConfig", "kv_cache_size_tokens"),
    _object("vllm.config:ParallelConfig", "numa_bind", "worker_extension_cls"),
    _object("vllm.config:ParallelConfig", "node_rank_within_dp", "nnodes_within_dp"),
    _object("vllm.config:ParallelConfig", "data_parallel_external_lb", "data_parallel_rpc_port"),
    _object("vllm.v1.engine.utils:CoreEngineProcManager", "sentinels", "finished_procs"),
    _object("vllm:RequestOutput", "outputs", "finished", "metrics", "num_cached_tokens"),
    _object("vllm:CompletionOutput", "text", "token_ids", "finish_reason"),
    _object("vllm.v1.metrics.stats:RequestStateStats", "queued_ts", "scheduled_ts"),
    _object("vllm.platforms.interface:Platform", "is_cpu"),
)
"""Attributes and methods of objects that vLLM returns, and arguments that are passed by `**`."""


def uses(folder: Path) -> list[Use]:
    """Every import of vLLM in a folder's sources, with calls and attributes of what is imported."""
    return [
        use
        for path in sorted(folder.rglob("*.py"))
        if "vllm" in (text := path.read_text())
        for use in _uses(ast.parse(text), str(path.relative_to(folder)))
    ]


def _uses(tree: ast.Module, where: str) -> Iterator[Use]:
    imported: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (Use(each.name, where) for each in node.names if _is_vllm(each.name))
            case ast.ImportFrom(module=str(module), level=0) if _is_vllm(module):
                for each in node.names:
                    imported[each.asname or each.name] = f"{module}:{each.name}"
                    yield Use(f"{module}:{each.name}", where)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in imported:
                yield Use(f"{imported[owner]}.{name}", where)
            case ast.Call(func=function) if called := _called(function, imported):
                yield Use(
                    called,
                    where,
                    # What `*` unpacks is not known here.
                    positional=sum(not isinstance(each, ast.Starred) for each in node.args),
                    keywords=tuple(each.arg for each in node.keywords if each.arg),
                )


def _called(function: ast.expr, imported: dict[str, str]) -> str:
    match function:
        case ast.Name(id=name) if name in imported:
            return imported[name]
        case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in imported:
            return f"{imported[owner]}.{name}"
    return ""


def _is_vllm(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] == "vllm"
