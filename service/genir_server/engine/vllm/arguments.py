"""Turns `EngineConfig` into vLLM's engine arguments, and checks the resulting configuration.

Imports vllm, so only `start` imports it, and late.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from vllm.engine.arg_utils import AsyncEngineArgs

from genir_server.engine.config import EMBEDDED_MAX_MODEL_LEN
from genir_server.engine.embedded_model import embedded_dtype
from genir_server.engine.patches import WORKER_EXTENSION
from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.adapters import adapter_arguments, check_adapters
from genir_server.engine.vllm.place import check_place
from genir_server.engine.vllm.start_fault import one_line

if TYPE_CHECKING:
    from vllm.config import VllmConfig

    from genir_server.engine.config import EngineConfig

OWN_SETTINGS = {
    "model": "--model",
    "served_model_name": "--served-model-name",
    "max_model_len": "--max-model-len",
    "enable_lora": "--lora-adapters",
    "structured_outputs_config": "--structured-output-backend",
    "reasoning_parser": "--structured-output-backend",
    "logging_config": "--log-level and --log-format",
    "scheduling_policy": None,
    "disable_log_stats": None,
}
"""vLLM's arguments that cannot be passed through, and the server's setting to use instead."""

_TEXT = {"str", "<class 'str'>", "str | None"}


def engine_arguments(config: EngineConfig, model_path: str, *, on_cpu: bool) -> AsyncEngineArgs:
    """The engine arguments for vLLM.

    Args:
        config: the operator's choices.
        model_path: folder or name of the model; for the embedded model too.
        on_cpu: whether vLLM runs on a CPU.

    Raises:
        EngineStartError: an argument is unknown to vLLM or cannot be passed through, or an adapter
            cannot be served.

    """
    arguments: dict[str, Any] = {
        "model": model_path,
        "served_model_name": config.model_name,
        "scheduling_policy": "priority",
        "structured_outputs_config": _structured_outputs(config),
        "enable_prefix_caching": True,
        # No statistics in the log every ten seconds; `ActivityRecorder` still receives them.
        "disable_log_stats": True,
    }
    if config.max_model_len is not None:
        arguments["max_model_len"] = config.max_model_len
    elif config.model is None:
        arguments["max_model_len"] = EMBEDDED_MAX_MODEL_LEN
    if on_cpu or config.model is None:
        # Compiling takes longer than it saves with a small model or in a short run.
        arguments["enforce_eager"] = True
    if on_cpu and config.model is None:
        arguments["dtype"] = embedded_dtype()
    if on_cpu:
        arguments["worker_extension_cls"] = WORKER_EXTENSION
    arguments |= adapter_arguments(config.lora_adapters)
    arguments |= _passed_through(config)
    try:
        return AsyncEngineArgs(**arguments)
    except (TypeError, ValueError) as error:
        raise EngineStartError(f"vLLM refuses its arguments: {one_line(error)}") from error


def engine_configuration(arguments: AsyncEngineArgs, config: EngineConfig) -> VllmConfig:
    """The whole configuration of vLLM, after checking that it has the requested backend.

    Raises:
        EngineStartError: vLLM refuses the arguments, cannot read the model, would use another
            backend or scheduling policy, an adapter does not fit, or the command is the wrong one
            for this node.

    """
    from vllm.usage.usage_lib import UsageContext

    try:
        # vLLM's defaults depend on this context, and peers on other nodes have those of its server.
        made = arguments.create_engine_config(
            UsageContext.OPENAI_API_SERVER, headless=config.headless
        )
    except Exception as error:  # vLLM documents no exception types.
        raise EngineStartError(f"vLLM cannot load {arguments.model}: {one_line(error)}") from error
    check_place(made, headless=config.headless)
    wanted = config.structured_output_backend
    if made.structured_outputs_config.backend != wanted:
        raise EngineStartError(
            f"the structured-output backend {wanted} was requested, but vLLM is configured for"
            f" {made.structured_outputs_config.backend}: this version of vLLM does not fit"
        )
    if str(made.scheduler_config.policy) != "priority":
        raise EngineStartError(
            "vLLM is not configured for scheduling by priority: this version of vLLM does not fit"
        )
    check_adapters(config.lora_adapters, made.lora_config)
    # vLLM refuses this argument together with "auto", although both backends that "auto" tries
    # first, xgrammar and guidance, read it. Without it a model may write whitespace forever.
    made.structured_outputs_config.disable_any_whitespace = True
    return made


def _structured_outputs(config: EngineConfig) -> dict[str, Any]:
    backend = config.structured_output_backend
    return {"backend": backend} | ({} if backend == "auto" else {"disable_any_whitespace": True})


def _passed_through(config: EngineConfig) -> dict[str, Any]:
    fields = {field.name: field for field in dataclasses.fields(AsyncEngineArgs)}
    passed: dict[str, Any] = {}
    for given, value in config.engine_args.items():
        name = given.replace("-", "_")
        if name in OWN_SETTINGS:
            instead = OWN_SETTINGS[name]
            raise EngineStartError(
                f"the engine argument {given} cannot be passed through: "
                + (f"use {instead}" if instead else "the server depends on its own value")
            )
        if name not in fields:
            raise EngineStartError(f"vLLM has no engine argument named {given}")
        passed[name] = _typed(value, str(fields[name].type))
    return passed


def _typed(value: object, annotation: str) -> object:
    """Converts a value to the argument's type: a flag or a variable gives text for a number."""
    if not isinstance(value, str) or "Literal" in annotation or annotation in _TEXT:
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
