"""What an operator learns from the checks before a start. Imports vllm, so it is imported late."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from genir_server.domain.types import Message, Role
from genir_server.patch_table.fits import misfit
from genir_server.patch_table.table import PATCHES

if TYPE_CHECKING:
    from genir_server.engine.config import EngineConfig
    from genir_server.engine.vllm.preflight import Plan

_SAMPLE = "hello"
_THINKING = re.compile(r"</?think(?:ing)?>|\[/?THINK\]|<\|channel\|>", re.IGNORECASE)


async def findings(config: EngineConfig, plan: Plan) -> dict[str, str]:
    """One line for each thing that was found, by what it is about."""
    model = plan.vllm_config.model_config
    beginning = await _beginning_of_answer(plan)
    markers = _THINKING.findall(plan.template.jinja or "")
    opened = _THINKING.findall(beginning)
    misfits = {name: reason for name, patch in PATCHES.items() if (reason := misfit(patch))}
    dtype = str(model.dtype).removeprefix("torch.")
    return {
        "model": f"{config.model_name} ({', '.join(model.architectures)}, {dtype})",
        "context": f"{model.max_model_len} tokens",
        "tokenizer": f"{type(plan.tokenizer).__name__}, {len(plan.tokenizer)} tokens",
        "chat template": f"{plan.template.origin}; an answer begins after {beginning!r}",
        "thinking": (
            f"the prompt ends inside {opened[-1]}: the model answers without thinking"
            if opened and not opened[-1].startswith(("</", "[/"))
            else f"the template knows {', '.join(sorted(set(markers)))}"
            if markers
            else "the template has no markers of it"
        ),
        "adapters": ", ".join(sorted(config.lora_adapters)) or "none",
        **plan.resources.lines(),
        "patches": "; ".join(f"{name} does not fit: {why}" for name, why in misfits.items())
        or f"all {len(PATCHES)} fit",
        "jump-forward": f"off: {plan.jump_forward_off}" if plan.jump_forward_off else "on",
    }


async def _beginning_of_answer(plan: Plan) -> str:
    """What stands between a question and its answer."""
    try:
        tokens = await plan.chat.render_chat([Message(Role.USER, _SAMPLE)])
    except ValueError as error:
        return f"(the template refuses a lone question: {error})"
    text = str(plan.tokenizer.decode(tokens))
    return text.rpartition(_SAMPLE)[2]
