"""The typer application with all subcommands."""

from typing import Annotated

import typer

from genir._version import __version__
from genir.cli import connection
from genir.cli.check_schema import check_schema
from genir.cli.console import exit_on_error, report
from genir.cli.exit_codes import exit_code_table
from genir.cli.generate import generate
from genir.cli.serve import node, serve
from genir.cli.server_state import health, warmup
from genir.cli.token import token

app = typer.Typer(
    name="genir",
    help="Turn a prompt into JSON that is guaranteed to satisfy a JSON Schema.",
    epilog=exit_code_table(),
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)

# The server parses its own arguments, --help included.
for command in (serve, node):
    app.command(
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        add_help_option=False,
    )(command)
app.command()(generate)
app.command()(check_schema)
app.command()(health)
app.command()(warmup)
app.command()(token)


@app.command()
def schema() -> None:
    """Print the built-in IR schema."""
    from genir.schemas import builtin_ir_schema_text

    typer.echo(builtin_ir_schema_text(), nl=False)


@app.command()
def version(
    *,
    target: Annotated[
        str | None,
        typer.Option(help="Also print the versions of this server.", metavar="HOST:PORT"),
    ] = None,
    tls: connection.Tls = False,
    ca: connection.Ca = None,
    cert: connection.Cert = None,
    key: connection.Key = None,
    token_file: connection.TokenFile = None,
    metadata: connection.Metadata = None,
) -> None:
    """Print the version of this client and, with --target, those of a server."""
    typer.echo(f"genir {__version__}")
    if target is None:
        return
    with (
        exit_on_error(),
        connection.connect(
            target,
            tls=tls,
            ca=ca,
            cert=cert,
            key=key,
            token_file=token_file,
            metadata=metadata,
        ) as client,
    ):
        versions = client.health().versions
    report(f"server genir {versions.genir or 'unknown'}")
    for name in ("vllm", "llguidance", "xgrammar"):
        if value := getattr(versions, name):
            report(f"server {name} {value}")
