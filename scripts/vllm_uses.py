"""What genir uses of vLLM: imports, calls, attributes of vLLM's objects, and names in texts.

The patch table lists vLLM's internals. This module lists the rest, most of it read from the
sources; `vllm_attributes` follows the types of objects. `OBJECTS` names what cannot be read there.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from genir_server.domain.types import Sampling
from scripts.vllm_attributes import OwnTypes, attribute_uses

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


_MODULE = re.compile(r"vllm(\.[a-z0-9_]+)+")
VARIABLES = "vllm.envs:"
"""Begins the names of environment variables, which modules other than this may read too."""
_VARIABLE = re.compile(r"VLLM_[A-Z0-9_]+")
_NO_NAMES = frozenset({"vllm.general_plugins", "vllm.v1.sample.rejection_sampler.expand_kernel"})
"""Texts of the form of a module that name something else: a group of plugins and a kernel."""

_ASYNC_LLM = "vllm.v1.engine.async_llm:AsyncLLM"

OBJECTS = (
    _object(_ASYNC_LLM, "get_supported_tasks"),
    Use(f"{_ASYNC_LLM}.shutdown", "OBJECTS", (), 1),
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
    _object("vllm:CompletionOutput", "text", "token_ids", "finish_reason"),
    # The messages that it logs show the stage of a load.
    Use("vllm.compilation.monitor:monitor_torch_compile", "OBJECTS"),
)
"""Attributes and methods of objects that vLLM returns, and arguments that are passed by `**`."""


@cache
def uses(folder: Path) -> tuple[Use, ...]:
    """What a folder's sources use of vLLM. They are read once.

    Imports, with calls and attributes of what is imported; attributes of objects; names of modules
    and environment variables in texts.
    """
    trees = {
        str(path.relative_to(folder)): ast.parse(text)
        for path in sorted(folder.rglob("*.py"))
        if "vllm" in (text := path.read_text()).lower()
    }
    own = OwnTypes()
    for tree in trees.values():
        own.read(tree)
    return tuple(
        use
        for where, tree in trees.items()
        for found in (_uses(tree, where), _attributes(tree, own, where), _texts(tree, where))
        for use in found
    )


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


def _attributes(tree: ast.Module, own: OwnTypes, where: str) -> Iterator[Use]:
    for use in attribute_uses(tree, own):
        yield Use(use.name, where, positional=use.positional, keywords=use.keywords)


def _texts(tree: ast.Module, where: str) -> Iterator[Use]:
    """Modules in texts, such as names of loggers, and environment variables that vLLM reads."""
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if not isinstance(text, str) or text in _NO_NAMES:
            continue
        if _MODULE.fullmatch(text):
            yield Use(text, where)
        elif _VARIABLE.fullmatch(text):
            yield Use(f"{VARIABLES}{text}", where)


def _called(function: ast.expr, imported: dict[str, str]) -> str:
    match function:
        case ast.Name(id=name) if name in imported:
            return imported[name]
        case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in imported:
            return f"{imported[owner]}.{name}"
    return ""


def _is_vllm(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] == "vllm"
