"""`genir serve` and `genir node`: run parts of the server, which the client does not include."""

from importlib import import_module

import typer

from genir.cli.console import note
from genir.cli.exit_codes import ExitCode
from genir.cli.output import release_output

_HOW_TO_INSTALL = """\
{command} needs {missing}, which is not installed. The server is not part of the client:
  with a GPU:     pip install 'genir[gpu]'
  on a CPU:       pip install --no-deps -r requirements/cpu.txt   (see docs/containers.md)
  server parts:   pip install 'genir[server]'   (without an engine)"""


def serve(context: typer.Context) -> None:
    """Start a server. It has its own options: genir serve --help."""
    _run("genir serve", "genir_server.__main__", context)


def node(context: typer.Context) -> None:
    """Start a peer of a server whose model spans several nodes. It has the options of serve."""
    _run("genir node", "genir_server.node", context)


def _run(command: str, module: str, context: typer.Context) -> None:
    # The server has its own rules for what it writes.
    release_output()
    try:
        code = import_module(module).main(list(context.args))
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("genir_server."):
            raise  # The server is installed, but a module of it is missing.
        missing = error.name or "a module"
        note(*_HOW_TO_INSTALL.format(command=command, missing=missing).splitlines(), style="")
        raise typer.Exit(ExitCode.NOT_INSTALLED) from error
    raise typer.Exit(code)
