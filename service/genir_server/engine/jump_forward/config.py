"""Jump-forward: tokens that the grammar forces cost no engine step of their own.

Whether it is used, and how vLLM is told: a scheduler class and a proposer of ours, by name, through
vLLM's own settings. What they do is in `jump_forward_scheduler`. See docs/jump-forward.md.

Imports torch, and vllm when it is used, so nothing does but `vllm_start` and `vllm_engine`.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from typing import TYPE_CHECKING, get_args

from genir_server.engine.patches.expand_kernel import KERNEL

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.engine.arg_utils import AsyncEngineArgs

    from genir_server.engine.config import EngineConfig

SCHEDULER = "genir_server.engine.jump_forward.scheduler.JumpForwardScheduler"
PROMPT_LOOKUP_SCHEDULER = "genir_server.engine.jump_forward.scheduler.PromptLookupScheduler"
PROPOSER = "genir_server.engine.jump_forward.scheduler.NoDrafts"

MAX_DRAFTS = 12
"""Drafts for one request in one step, in tokens. Forced runs of an IR are seldom longer: a quote, a
comma, a key, a colon, a bracket, a quote."""


def refusal(config: EngineConfig, arguments: AsyncEngineArgs, *, on_cpu: bool) -> str:
    """Why jump-forward cannot or shall not be used with these arguments; "" where it can.

    The sentence goes after "jump-forward is off: ".
    """
    obstacles = (
        (config.jump_forward == "off", "--jump-forward is off"),
        (
            config.jump_forward == "auto" and not on_cpu,
            "it has not been measured on an accelerator; --jump-forward on turns it on",
        ),
        (
            config.structured_output_backend != "guidance",
            "only the backend guidance tells what is forced, not "
            + config.structured_output_backend,
        ),
        (
            arguments.speculative_config is not None,
            "the engine argument speculative_config asks for other drafts",
        ),
        (
            arguments.scheduler_cls is not None,
            "the engine argument scheduler_cls names another scheduler",
        ),
        (
            bool(arguments.async_scheduling),
            "the engine argument async_scheduling excludes it",
        ),
        (
            arguments.pipeline_parallel_size > 1,
            "it has not been tried with pipeline parallelism",
        ),
    )
    for applies, reason in obstacles:
        if applies:
            return reason
    return interface_fault(on_cpu=on_cpu)


def interface_fault(*, on_cpu: bool) -> str:
    """What of vLLM's insides is not as jump-forward needs it; "" where all is."""
    try:
        missing = _missing(on_cpu=on_cpu)
    except Exception as error:  # noqa: BLE001  # Whatever a changed vLLM makes of it.
        missing = [f"{type(error).__name__}: {error}"]
    return f"this version of vLLM does not fit it ({missing[0]})" if missing else ""


def with_jump_forward(arguments: AsyncEngineArgs, *, prompt_lookup: bool) -> AsyncEngineArgs:
    """The same arguments, with the scheduler and the proposer of jump-forward."""
    return dataclasses.replace(
        arguments,
        scheduler_cls=PROMPT_LOOKUP_SCHEDULER if prompt_lookup else SCHEDULER,
        speculative_config={
            "method": "custom_class",
            "model": PROPOSER,
            "num_speculative_tokens": MAX_DRAFTS,
        },
        async_scheduling=False,
    )


def is_used(vllm_config: VllmConfig) -> bool:
    """Whether an engine with this configuration jumps forward."""
    return vllm_config.scheduler_config.scheduler_cls in (SCHEDULER, PROMPT_LOOKUP_SCHEDULER)


def lift_drafting_limit(vllm_config: VllmConfig) -> None:
    """Tells vLLM that drafting needs no room in any model's context.

    Where a proposer would need more than is left, vLLM zeroes its drafts, in a way that ends the
    engine on a CPU. The proposer of jump-forward needs no room at all.
    """
    speculative = vllm_config.speculative_config
    unlimited = copy.copy(speculative.draft_model_config)
    unlimited.max_model_len = vllm_config.model_config.max_model_len + 2 * MAX_DRAFTS
    speculative.draft_model_config = unlimited


def _missing(*, on_cpu: bool) -> list[str]:
    from llguidance import LLMatcher, LLTokenizer
    from vllm.config.speculative import SpeculativeMethod
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.outputs import ModelRunnerOutput
    from vllm.v1.request import Request
    from vllm.v1.structured_output.backend_guidance import GuidanceGrammar

    missing = [
        f"{owner.__name__}.{name}"
        for owner, names in (
            (Scheduler, ("schedule", "update_draft_token_ids", "update_from_output")),
            (Request, ("num_tokens", "num_tokens_with_spec", "num_output_tokens")),
            (GuidanceGrammar, ("validate_tokens", "is_terminated")),
            (LLMatcher, ("compute_ff_bytes",)),
            (LLTokenizer, ("tokenize_bytes", "decode_bytes")),
        )
        for name in names
        if name not in vars(owner)
    ]
    missing += [
        f"{owner.__name__}.{name}"
        for owner, names in (
            (SchedulerOutput, {"num_scheduled_tokens", "scheduled_spec_decode_tokens"}),
            (ModelRunnerOutput, {"sampled_token_ids", "req_id_to_index"}),
            (GuidanceGrammar, {"ll_matcher", "ll_tokenizer"}),
        )
        for name in names - {field.name for field in dataclasses.fields(owner)}
    ]
    missing += [
        f"{owner.__name__} sets no {name}"
        for owner, names in (
            (
                Scheduler,
                (
                    "running",
                    "requests",
                    "num_spec_tokens",
                    "max_num_running_reqs",
                    "max_num_scheduled_tokens",
                    "dynamic_sd_lookup",
                    "structured_output_manager",
                ),
            ),
            (
                Request,
                (
                    "spec_token_ids",
                    "num_computed_tokens",
                    "output_token_ids",
                    "max_tokens",
                    "structured_output_request",
                ),
            ),
        )
        for name in names
        if f"self.{name}" not in inspect.getsource(owner.__init__)
    ]
    parameters = list(inspect.signature(Scheduler.update_from_output).parameters)
    if parameters != ["self", "scheduler_output", "model_runner_output"]:
        missing.append("Scheduler.update_from_output takes other arguments")
    if "custom_class" not in _leaves(SpeculativeMethod):
        missing.append("no speculative method custom_class")
    if on_cpu:
        from vllm.triton_utils.dispatcher import register_kernels

        if next(iter(inspect.signature(register_kernels).parameters), "") != "overrides":
            missing.append(f"no way to replace {KERNEL}")
    return missing


def _leaves(annotation: object) -> set[object]:
    parts = get_args(annotation)
    return set().union(*map(_leaves, parts)) if parts else {annotation}
