"""`genir token`: makes a bearer token and its entry in the server's callers file."""

import hashlib
import os
import re
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from genir.cli.console import note
from genir.cli.output import fail

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RANDOM_BYTES = 32


class Permission(StrEnum):
    """The permissions of a caller."""

    GENERATE = "generate"
    WARMUP = "warmup"
    DEBUG = "debug"
    PRIORITY = "priority"


def token(
    name: Annotated[str, typer.Argument(help="Name of the caller in the server's log.")],
    permission: Annotated[
        list[Permission] | None,
        typer.Option(help="A permission of the caller. Repeatable. Default: generate."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="New file for the token, readable only by you. Default: written to stderr."
        ),
    ] = None,
) -> None:
    """Make a bearer token, and print its entry for the server's callers file.

    The entry holds only the token's digest. Append it to the file that genir serve --auth-file
    names: genir token ci --token-file ci.token >> callers.toml
    """
    if not _NAME.fullmatch(name):
        msg = "must be 1 to 64 letters, digits, '.', '_' or '-'"
        raise typer.BadParameter(msg, param_hint="NAME")
    made = f"genir_{secrets.token_urlsafe(_RANDOM_BYTES)}"
    if token_file is not None:
        _write(token_file, made)
    digest = hashlib.sha256(made.encode()).hexdigest()
    permissions = ", ".join(f'"{each}"' for each in permission or [Permission.GENERATE])
    key = f'"{name}"' if "." in name else name
    typer.echo(f'[callers.{key}]\ntokens = ["sha256:{digest}"]\npermissions = [{permissions}]\n')
    if token_file is None:
        note("the token, which is not shown again:", made, style="")


def _write(path: Path, made: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as fault:
        msg = f"cannot make {path}: {fault.strerror}"
        raise typer.BadParameter(msg, param_hint="--token-file") from fault
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{made}\n")
    except OSError as fault:
        path.unlink(missing_ok=True)
        raise fail(fault) from fault
