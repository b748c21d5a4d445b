"""Output of the command line: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.highlighter import JSONHighlighter

from genir.cli.escapes import multiline, one_line
from genir.cli.exit_codes import exit_code_of
from genir.errors import ErrorReason, GenirError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genir.types import Usage


def stderr_console() -> Console:
    """A console on stderr that writes text unchanged."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def note(*lines: str, style: str = "dim") -> None:
    """Writes lines to stderr. Each may hold text from the server: it stays one line."""
    stderr_console().print("\n".join(map(one_line, lines)), style=style)


def report(*lines: str) -> None:
    """Writes lines for people to stdout. Each may hold text from the server: it stays one line."""
    for line in lines:
        typer.echo(one_line(line))


def write_stderr(text: str) -> None:
    """Writes the model's text to stderr: escaped on a terminal, else unchanged."""
    sys.stderr.write(multiline(text) if sys.stderr.isatty() else text)
    sys.stderr.flush()


def write_json(json_text: str) -> None:
    """Writes JSON to stdout: indented, escaped and coloured on a terminal, else unchanged."""
    if sys.stdout.isatty():
        console = Console(soft_wrap=True, emoji=False)
        console.print(JSONHighlighter()(multiline(_indented(json_text))))
        return
    # Bytes, because the IR is UTF-8 in every locale.
    sys.stdout.buffer.write(json_text.encode() + b"\n")
    sys.stdout.buffer.flush()


def _indented(json_text: str) -> str:
    """The JSON on several lines; the text itself when it is not JSON or nests too deep."""
    try:
        return json.dumps(json.loads(json_text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return json_text


def json_value(value: object) -> object:
    """The JSON value of a duration, in seconds, or of a time. For `json.dumps`."""
    match value:
        case timedelta():
            return value.total_seconds()
        case datetime():
            return value.isoformat()
    msg = f"no JSON form for {type(value).__name__}"
    raise TypeError(msg)


@contextmanager
def exit_on_error(*, raw_output: bool = False) -> Iterator[None]:
    """Turns a `GenirError` into an explanation on stderr and its exit code.

    `raw_output` adds the model's text.
    """
    try:
        yield
    except GenirError as error:
        _explain(error, raw_output=raw_output)
        raise typer.Exit(exit_code_of(error)) from error


def _explain(error: GenirError, *, raw_output: bool) -> None:
    note(f"error: {error.reason_name}: {error.message}", style="bold red")
    if error.reason is ErrorReason.UNAVAILABLE and "connection" not in error.metadata:
        note(
            "  start a server with genir serve, or give the address of one with --target", style=""
        )
    for field in error.fields:
        note(f"  {field.field}: {field.description}", style="")
    for violation in error.violations:
        place = violation.instance_pointer or "the root"
        note(f"  {place}: {violation.message}", style="")
    if error.failure is not None:
        attempts, reason = len(error.attempts), error.failure.finish_reason
        note(f"  {attempts} attempt(s), finish reason {reason}, {tokens(error.failure.usage)}")
    if error.retry_delay is not None:
        note(f"  the server suggests a retry in {seconds(error.retry_delay)}")
    if error.request_id:
        note(f"  request id {error.request_id}")
    if not error.raw_output:
        return
    if raw_output:
        write_stderr(f"{error.raw_output}\n")
    else:
        note(f"  --raw-output shows the model's text ({len(error.raw_output)} characters)")


def seconds(duration: timedelta) -> str:
    """A duration as text."""
    return f"{duration.total_seconds():.2f} s"


def tokens(usage: Usage) -> str:
    """Numbers of tokens as text."""
    cached = f" ({usage.cached_prompt_tokens} cached)" if usage.cached_prompt_tokens else ""
    return f"{usage.prompt_tokens} prompt tokens{cached}, {usage.completion_tokens} written"
