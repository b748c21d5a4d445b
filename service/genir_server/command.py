"""What the commands `genir serve` and `genir node` share: settings, exit codes, the exit."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from genir_server.engine.config import EngineConfig, LogSetup
from genir_server.engine.cpu_fork.fork_server import stop_fork_server
from genir_server.observability.logging import configure_logging
from genir_server.settings import ServerSettings
from genir_server.settings.named_values import explain_unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_OK = 0
EXIT_SETTINGS = 2
EXIT_ADDRESS = 3
EXIT_ENGINE = 4
EXIT_ENGINE_LOST = 5
EXIT_SIGNAL = 128


def read_settings(
    command: str, argv: Sequence[str], kind: type[ServerSettings] = ServerSettings
) -> ServerSettings | None:
    """Reads the settings and sets up the log; None, after a message, if they are invalid.

    Args:
        command: the command as the user types it, for messages.
        argv: the command line after it.
        kind: the class of the settings.
    """
    try:
        settings = CliApp.run(kind, cli_args=list(argv))
    except ValidationError as error:
        for each in error.errors():
            name = "".join(f"{part}: " for part in each["loc"])
            complain(command, name + each["msg"].removeprefix("Value error, "))
        return None
    except SettingsError as error:
        complain(command, explain_unreadable(str(error)))
        return None
    # What a check finds is printed.
    configure_logging(settings.log_format, "error" if settings.check else settings.log_level)
    return settings


def engine_config(settings: ServerSettings) -> EngineConfig:
    """The engine that the settings describe.

    Args:
        settings: what the operator set.
    """
    return EngineConfig(
        model=settings.model,
        served_model_name=settings.served_model_name,
        structured_output_backend=settings.structured_output_backend,
        jump_forward=settings.jump_forward,
        prompt_lookup=settings.prompt_lookup,
        fork_engine=settings.fork_engine,
        start_timeout=settings.start_timeout,
        max_model_len=settings.max_model_len,
        lora_adapters=settings.lora_adapters,
        allow_special_tokens=settings.allow_special_tokens,
        engine_args=settings.engine_args,
        process_log=LogSetup(
            configure_logging.__module__,
            configure_logging.__name__,
            (settings.log_format, settings.log_level),
        ),
    )


def complain(command: str, message: str) -> None:
    """Prints a message about the command line for the user, who does not read the log.

    Args:
        command: the command as the user types it.
        message: what is wrong.
    """
    print(f"{command}: {message}", file=sys.stderr)  # noqa: T201 - the user sees it, not the log.


def exit_process(code: int) -> None:
    """Ends the process at once, and the fork server, which would outlive it for a while.

    Args:
        code: the exit code.
    """
    stop_fork_server()
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread that loads a model cannot be stopped and would keep the process alive.
    os._exit(code)
