"""The options that say which server to call and how, shared by the subcommands."""

from pathlib import Path
from typing import Annotated

import grpc
import typer

from genir import IRClient
from genir._settings import DEFAULT_TARGET

PANEL = "Connection"

Target = Annotated[
    str,
    typer.Option(
        help="Address of the server. Several numeric addresses, with commas, share the calls.",
        envvar="GENIR_TARGET",
        metavar="HOST:PORT",
        rich_help_panel=PANEL,
    ),
]
Tls = Annotated[bool, typer.Option("--tls", help="Connect with TLS.", rich_help_panel=PANEL)]
Ca = Annotated[
    Path | None,
    typer.Option(
        help="PEM file of the certificates to trust instead of the usual ones. Implies --tls.",
        exists=True,
        dir_okay=False,
        rich_help_panel=PANEL,
    ),
]
Metadata = Annotated[
    list[str] | None,
    typer.Option(
        help="Metadata to send with every call, such as 'authorization=Bearer ...'. Repeatable.",
        metavar="KEY=VALUE",
        rich_help_panel=PANEL,
    ),
]

DEFAULT = DEFAULT_TARGET


def connect(target: str, *, tls: bool, ca: Path | None, metadata: list[str] | None) -> IRClient:
    """A client made of the options.

    Raises:
        typer.BadParameter: an option is malformed.

    """
    credentials = None
    if tls or ca is not None:
        credentials = grpc.ssl_channel_credentials(ca.read_bytes() if ca else None)
    pairs: dict[str, str | bytes] = {}
    for each in metadata or []:
        key, separator, value = each.partition("=")
        if not separator or not key:
            msg = f"--metadata must be KEY=VALUE, not {each!r}"
            raise typer.BadParameter(msg)
        pairs[key.lower()] = value
    scheme_or_one = ":///" in target or "," not in target or target.startswith(("ipv4:", "ipv6:"))
    try:
        return IRClient(
            target if scheme_or_one else target.split(","),
            credentials=credentials,
            metadata=pairs,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
