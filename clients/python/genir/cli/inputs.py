"""What the command line reads: prompts and schemas, from arguments, files and stdin."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from genir._text_file import text_of

STDIN = "-"


def prompt_text(argument: str | None, file: Path | None) -> str:
    """The prompt, without one newline at the end of a file or of stdin.

    Raises:
        typer.BadParameter: there is none, or two, or it cannot be read.

    """
    if argument is not None and file is not None:
        msg = "give the prompt either as an argument or with --file"
        raise typer.BadParameter(msg)
    if argument not in (None, STDIN):
        return argument
    if file is None and argument is None and (sys.stdin is None or sys.stdin.isatty()):
        msg = "the prompt is missing: give it as an argument, with --file, or on stdin"
        raise typer.BadParameter(msg)
    name = STDIN if file is None else str(file)
    return _decoded(_bytes(name), "the prompt").removesuffix("\n")


def schema_text(given: str) -> str:
    """The text of a schema, which is given as JSON, as the name of a file, or as - for stdin.

    Raises:
        typer.BadParameter: it cannot be read.

    """
    text = given if is_json(given) else _decoded(_bytes(given), "the schema")
    if not text.strip():
        msg = "the schema is empty"
        raise typer.BadParameter(msg)
    return text


def is_json(given: str) -> bool:
    """Whether a schema is given as JSON and not as the name of a file."""
    text = given.strip()
    return text.startswith("{") or text in ("true", "false")


def _bytes(name: str) -> bytes:
    try:
        if name != STDIN:
            return Path(name).read_bytes()
        if sys.stdin is not None:
            return sys.stdin.buffer.read()
    except OSError as error:
        msg = f"{name} cannot be read: {error.strerror}"
        raise typer.BadParameter(msg) from error
    msg = "stdin is closed"
    raise typer.BadParameter(msg)


def _decoded(data: bytes, what: str) -> str:
    try:
        return text_of(data)
    except UnicodeDecodeError as error:
        msg = f"{what} is not UTF-8: {error}"
        raise typer.BadParameter(msg) from error
