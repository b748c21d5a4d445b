"""What the command line writes: results on stdout, everything else on stderr."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.json import JSON

from genir.cli.exit_codes import exit_code_of
from genir.errors import GenirError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genir.types import Usage

# Everything but newline and tab that a terminal may take for a command.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def terminal_safe(text: str) -> str:
    """The text with control characters replaced: a model's words must not steer a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def stderr_console() -> Console:
    """A console on stderr that adds nothing to what it is given."""
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def note(text: str, style: str = "dim") -> None:
    """Writes a line for a person to stderr."""
    stderr_console().print(terminal_safe(text), style=style)


def write_json(json_text: str) -> None:
    """Writes JSON to stdout: as it is into a pipe, indented and coloured to a terminal."""
    if sys.stdout.isatty():
        Console(soft_wrap=True).print(JSON(terminal_safe(json_text)))
        return
    # Bytes, because the IR is UTF-8 whatever the locale says.
    sys.stdout.buffer.write(json_text.encode() + b"\n")
    sys.stdout.buffer.flush()


def json_value(value: object) -> object:
    """What `json.dumps` is to write for a value that JSON does not know: durations are seconds."""
    match value:
        case timedelta():
            return value.total_seconds()
        case datetime():
            return value.isoformat()
    msg = f"no JSON form for {type(value).__name__}"
    raise TypeError(msg)


@contextmanager
def exit_on_error(*, raw_output: bool = False) -> Iterator[None]:
    """Turns a `GenirError` into an explanation on stderr and the exit code that stands for it.

    `raw_output` adds what the model wrote.
    """
    try:
        yield
    except GenirError as error:
        _explain(error, raw_output=raw_output)
        raise typer.Exit(exit_code_of(error)) from error


def _explain(error: GenirError, *, raw_output: bool) -> None:
    note(f"error: {error.reason_name}: {error.message}", style="bold red")
    if error.reason == "UNAVAILABLE":
        note("  start a server with genir serve, or name one with --target", style="")
    for field in error.fields:
        note(f"  {field.field}: {field.description}", style="")
    for violation in error.violations:
        place = violation.instance_pointer or "the whole value"
        note(f"  {place}: {violation.message}", style="")
    if error.failure is not None:
        attempts, reason = len(error.attempts), error.failure.finish_reason
        note(f"  {attempts} attempt(s), finish reason {reason}, {tokens(error.failure.usage)}")
    if error.retry_delay is not None:
        note(f"  the server asks to come back in {seconds(error.retry_delay)}")
    if error.request_id:
        note(f"  request id {error.request_id}")
    if not error.raw_output:
        return
    if raw_output:
        text = error.raw_output
        sys.stderr.write((terminal_safe(text) if sys.stderr.isatty() else text) + "\n")
    else:
        note(f"  --raw-output shows what the model wrote ({len(error.raw_output)} characters)")


def seconds(duration: timedelta) -> str:
    """A duration for a person."""
    return f"{duration.total_seconds():.2f} s"


def tokens(usage: Usage) -> str:
    """Usage for a person."""
    cached = f" ({usage.cached_prompt_tokens} cached)" if usage.cached_prompt_tokens else ""
    return f"{usage.prompt_tokens} prompt tokens{cached}, {usage.completion_tokens} written"
