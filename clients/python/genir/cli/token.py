"""`genir token`: makes a bearer token and the lines that let a server know it."""

import hashlib
import os
import re
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from genir.cli.console import note

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RANDOM_BYTES = 32


class Permission(StrEnum):
    """What the server may let a caller do."""

    GENERATE = "generate"
    WARMUP = "warmup"
    DEBUG = "debug"


def token(
    name: Annotated[str, typer.Argument(help="Name of the caller, as it shows in the log.")],
    permission: Annotated[
        list[Permission] | None,
        typer.Option(help="What the caller may do. Repeatable. Default: generate."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="New file for the token, readable by you alone. Default: shown on stderr."
        ),
    ] = None,
) -> None:
    """Make a bearer token; print what belongs into the server's callers file.

    The file (genir serve --auth-file) gets the token's digest only. Append what is printed:
    genir token ci --token-file ci.token >> callers.toml
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
        note(f"the token, shown only now:\n{made}", style="")


def _write(path: Path, made: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as fault:
        msg = f"cannot make {path}: {fault.strerror}"
        raise typer.BadParameter(msg, param_hint="--token-file") from fault
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{made}\n")
