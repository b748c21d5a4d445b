"""The connection options that the subcommands share."""

from pathlib import Path
from typing import Annotated

import typer

from genir import IRClient, tls_credentials
from genir._settings import DEFAULT_TARGET, TARGET_VARIABLE
from genir._text_file import text_of

PANEL = "Connection"

Target = Annotated[
    str,
    typer.Option(
        help="Address of the server. Several, separated by commas, share the calls.",
        envvar=TARGET_VARIABLE,
        metavar="HOST:PORT",
        rich_help_panel=PANEL,
    ),
]
Tls = Annotated[bool, typer.Option("--tls", help="Connect with TLS.", rich_help_panel=PANEL)]
Ca = Annotated[
    Path | None,
    typer.Option(
        help="PEM file of the certificates to trust. Default: gRPC's own. Implies --tls.",
        exists=True,
        dir_okay=False,
        rich_help_panel=PANEL,
    ),
]
Cert = Annotated[
    Path | None,
    typer.Option(
        help="PEM file with your certificate, for mTLS. Implies --tls.",
        exists=True,
        dir_okay=False,
        rich_help_panel=PANEL,
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(
        help="PEM file with your certificate's private key.",
        exists=True,
        dir_okay=False,
        rich_help_panel=PANEL,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        help="File with the bearer token. Default: the environment variable GENIR_TOKEN.",
        exists=True,
        dir_okay=False,
        rich_help_panel=PANEL,
    ),
]
Metadata = Annotated[
    list[str] | None,
    typer.Option(
        help="Header to send with every call, such as 'tenant=blue'. Repeatable.",
        metavar="KEY=VALUE",
        rich_help_panel=PANEL,
    ),
]

DEFAULT = DEFAULT_TARGET


def connect(
    target: str,
    *,
    tls: bool = False,
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    token_file: Path | None = None,
    metadata: list[str] | None = None,
) -> IRClient:
    """Makes a client from the options.

    Raises:
        typer.BadParameter: an option is malformed.

    """
    pairs: dict[str, str | bytes] = {}
    for each in metadata or []:
        name, separator, value = each.partition("=")
        if not separator or not name:
            msg = f"--metadata must be KEY=VALUE, not {each!r}"
            raise typer.BadParameter(msg)
        pairs[name.lower()] = value
    try:
        secure = tls or any(each is not None for each in (ca, cert, key))
        return IRClient(
            target,
            credentials=tls_credentials(ca=ca, cert=cert, key=key) if secure else None,
            token=None if token_file is None else _token(token_file),
            metadata=pairs,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _token(file: Path) -> str:
    token = text_of(file.read_bytes()).strip()
    if not token:
        msg = f"{file} is empty"
        raise ValueError(msg)
    return token
