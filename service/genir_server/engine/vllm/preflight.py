"""Everything about an engine that can be checked and made before its model is loaded.

A load takes up to ten minutes, these checks take seconds: the settings, vLLM's configuration, the
adapters, the tokenizer and the chat template. Whatever is wrong with them ends a start here.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing.resource_tracker
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.engine.cpu_fork.fork_server import start_fork_server
from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.environment import prepare_environment
from genir_server.engine.vllm.library_preload import preload_libraries
from genir_server.engine.vllm.start_fault import one_line
from genir_server.patch_table.fits import applies, outcomes
from genir_server.patch_table.table import PATCHES
from genir_server.python_process import SERVER_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm.config import VllmConfig
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.tokenizers import TokenizerLike

    from genir_server.domain.grammar_tokenizer import GrammarTokenizer
    from genir_server.engine.config import EngineConfig
    from genir_server.engine.vllm.chat_template import ChatTemplate
    from genir_server.engine.vllm.resources import Resources
    from genir_server.engine.vllm.tokenizer import ChatTokenizer

logger = logging.getLogger(__name__)

_KV_CACHE_BYTES = "kv_cache_memory_bytes"

THREAD_STACK_BYTES = 64 << 20
"""Stack size of the threads in which vLLM checks schemas. A deeply nested schema overflows the
default of 8 MiB, which kills the process."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An engine that can be constructed.

    Attributes:
        vllm_config: vLLM's configuration.
        forking: whether the engine core is forked from the fork server.
        jump_forward_off: why jump-forward is not used; "" if it is.
        template: how conversations become text.
        chat: tokenizes conversations and texts.
        tokenizer: vLLM's tokenizer.
        grammar_tokenizer: the tokenizer for the compiler of grammars.
        resources: devices, memory and disk.

    """

    vllm_config: VllmConfig
    forking: bool
    jump_forward_off: str
    template: ChatTemplate
    chat: ChatTokenizer
    tokenizer: TokenizerLike
    grammar_tokenizer: GrammarTokenizer
    resources: Resources


def make_plan(config: EngineConfig, model_path: str) -> Plan:
    """Checks what can be checked without loading the model. Imports vLLM, and blocks for seconds.

    Args:
        config: the operator's choices.
        model_path: folder or name of the model; for the embedded model too.

    Raises:
        EngineStartError: the engine could not start; one line says what to change.

    """
    on_cpu = prepare_environment(
        sized=_KV_CACHE_BYTES in config.engine_args, start_timeout=config.start_timeout
    )
    preload_libraries()
    # Applies to all threads that this process creates from now on, including vLLM's.
    threading.stack_size(THREAD_STACK_BYTES)
    block_server_signals()
    if applies("resource tracker"):
        multiprocessing.resource_tracker.ensure_running()
        # The tracker's start has unblocked SIGINT in this thread.
        block_server_signals()
    # Forking has not been tested on accelerators.
    forking = on_cpu and config.fork_engine and start_fork_server()

    with _no_garbage_collection():
        import vllm.v1.engine.async_llm
        import vllm.v1.executor  # noqa: F401 - imported while no garbage is collected

        from genir_server.engine.vllm.arguments import engine_arguments
        from genir_server.engine.vllm.chat_template import chat_template_of
        from genir_server.engine.vllm.devices import check_devices
        from genir_server.engine.vllm.grammar_tokenizer import grammar_tokenizer
        from genir_server.engine.vllm.resources import check_resources
        from genir_server.engine.vllm.tokenizer import ChatTokenizer

    _check_required_patches()
    _read_environment_again()
    arguments = engine_arguments(config, model_path, on_cpu=on_cpu)
    check_devices(arguments)
    vllm_config, reason = _configuration(arguments, config, on_cpu=on_cpu)
    resources = check_resources(vllm_config, config.engine_args)
    tokenizer = _tokenizer(vllm_config)
    taken = grammar_tokenizer(tokenizer, vllm_config.model_config.get_vocab_size())
    template = chat_template_of(tokenizer, vllm_config.model_config)
    # It copies the tokenizer, which takes seconds for a vocabulary of 260,000 tokens.
    chat = ChatTokenizer(
        tokenizer,
        template=template.jinja,
        allow_special_tokens=config.allow_special_tokens,
    )
    return Plan(vllm_config, forking, reason, template, chat, tokenizer, taken, resources)


def block_server_signals() -> None:
    """Blocks the server's signals in this thread, and in the processes that it starts.

    Ctrl-C in a terminal goes to the whole process group. The server then drains and needs its
    engine. A new process inherits the signal mask of the thread that starts it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SERVER_SIGNALS)


def _tokenizer(vllm_config: VllmConfig) -> TokenizerLike:
    """The tokenizer that the engine will use: vLLM caches it."""
    from vllm.tokenizers import cached_tokenizer_from_config

    model = vllm_config.model_config
    try:
        tokenizer = cached_tokenizer_from_config(model)
    except Exception as error:  # vLLM documents no exception types.
        raise EngineStartError(
            f"vLLM cannot load the tokenizer of {model.tokenizer} ({one_line(error)}): if the "
            "model has no tokenizer.json, make one, or name a tokenizer with the same tokens with "
            "--engine-args tokenizer=FOLDER_OR_NAME"
        ) from error
    if tokenizer is None:
        raise EngineStartError(
            "the engine argument skip_tokenizer_init cannot be used: genir needs the tokenizer"
        )
    return tokenizer


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pauses the garbage collector, which would search all modules repeatedly while they load."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _check_required_patches() -> None:
    """Checks the patches without which the server cannot run.

    Raises:
        EngineStartError: the installed version does not fit one of them.

    """
    for patch in PATCHES.values():
        if patch.required and not applies(patch.name):
            raise EngineStartError(
                f"an installed package has an unsupported version ({outcomes()[patch.name]}): "
                f"install {patch.tested_with}"
            )


def _read_environment_again() -> None:
    """Ends the cache of environment variables that an earlier engine's start left."""
    if applies("environment cache"):
        from vllm.envs import disable_envs_cache

        disable_envs_cache()


def _configuration(
    arguments: AsyncEngineArgs, config: EngineConfig, *, on_cpu: bool
) -> tuple[VllmConfig, str]:
    """The configuration of vLLM, with jump-forward if possible, and why it is off or "".

    Raises:
        EngineStartError: vLLM or jump-forward cannot be configured as the operator wishes.

    """
    from genir_server.engine.jump_forward import config as jump_forward
    from genir_server.engine.vllm.arguments import engine_configuration

    refusal = jump_forward.refusal(config, arguments)
    if refusal:
        raise EngineStartError(refusal)
    reason = jump_forward.off_reason(config, arguments, on_cpu=on_cpu)
    if not reason:
        try:
            jumping = jump_forward.with_jump_forward(arguments, prompt_lookup=config.prompt_lookup)
            made = engine_configuration(jumping, config)
        except EngineStartError as error:
            # If jump-forward is not the cause, the next attempt raises the error again.
            reason = str(error)
        else:
            jump_forward.lift_drafting_limit(made)
            logger.info(
                "jump-forward is on%s",
                ", with prompt lookup" if config.prompt_lookup else "",
            )
            return made, ""
    logger.log(
        logging.WARNING if config.jump_forward == "on" else logging.INFO,
        "jump-forward is off: %s",
        reason,
    )
    return engine_configuration(arguments, config), reason
