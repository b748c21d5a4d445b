"""Decides whether jump-forward is used, and configures vLLM for it.

vLLM loads a scheduler class and a proposer class of `jump_forward.scheduler` by name, through its
own settings.

Importing this module imports neither vLLM nor torch; calling it needs vLLM.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING

from genir_server.patch_table.fits import applies, outcomes

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.engine.arg_utils import AsyncEngineArgs

    from genir_server.engine.config import EngineConfig

SCHEDULER = "genir_server.engine.jump_forward.scheduler.JumpForwardScheduler"
PROMPT_LOOKUP_SCHEDULER = "genir_server.engine.jump_forward.scheduler.PromptLookupScheduler"
PROPOSER = "genir_server.engine.jump_forward.scheduler.NoDrafts"

MAX_DRAFTS = 12
"""Maximum number of draft tokens for one request in one step. Forced runs in an IR are rarely
longer: a quote, a comma, a key, a colon, a bracket, a quote."""


def refusal(config: EngineConfig, arguments: AsyncEngineArgs) -> str:
    """Why the operator's wish for jump-forward cannot be met or left aside; "" if it can."""
    if config.jump_forward != "on" or arguments.data_parallel_size == 1:
        return ""
    return (
        "--jump-forward on does not work with the engine argument data_parallel_size: leave it at"
        " auto"
    )


def off_reason(config: EngineConfig, arguments: AsyncEngineArgs, *, on_cpu: bool) -> str:
    """Why jump-forward is not used with these arguments; "" if it is used.

    The text completes the sentence "jump-forward is off: …".
    """
    obstacles = (
        (config.jump_forward == "off", "--jump-forward is off"),
        (
            config.jump_forward == "auto" and not on_cpu,
            "it has not been measured on an accelerator; --jump-forward on turns it on",
        ),
        (
            config.structured_output_backend != "guidance",
            "it needs the backend guidance, not " + config.structured_output_backend,
        ),
        (
            arguments.speculative_config is not None,
            "the engine argument speculative_config configures other drafts",
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
            "it has not been tested with pipeline parallelism",
        ),
        (
            arguments.data_parallel_size > 1,
            "it would make data-parallel ranks, which step together, differ in their drafts",
        ),
    )
    for applies_here, reason in obstacles:
        if applies_here:
            return reason
    needed = ("jump-forward", *(("draft sampling on CPUs",) if on_cpu else ()))
    for name in needed:
        if not applies(name):
            return f"this version of vLLM does not fit it ({outcomes()[name]})"
    return ""


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
    """Whether an engine with this configuration uses jump-forward."""
    return vllm_config.scheduler_config.scheduler_cls in (SCHEDULER, PROMPT_LOOKUP_SCHEDULER)


def lift_drafting_limit(vllm_config: VllmConfig) -> None:
    """Raises the context length that vLLM assumes for the drafting model.

    When a drafting model would run out of context, vLLM zeroes the drafts in a way that ends the
    engine on a CPU. Jump-forward has no drafting model, so the limit does not apply.
    """
    speculative = vllm_config.speculative_config
    unlimited = copy.copy(speculative.draft_model_config)
    unlimited.max_model_len = vllm_config.model_config.max_model_len + 2 * MAX_DRAFTS
    speculative.draft_model_config = unlimited
