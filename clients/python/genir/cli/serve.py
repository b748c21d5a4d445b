"""`genir serve`: runs the server, which is not installed with the client."""

import typer

from genir.cli.console import note
from genir.cli.exit_codes import ExitCode

_HOW_TO_INSTALL = """\
genir serve needs {missing}, which is not installed. The server is not part of the client:
  with a GPU:     pip install 'genir[gpu]'
  on a CPU:       pip install --no-deps -r requirements/cpu.txt   (see docs/containers.md)
  server parts:   pip install 'genir[server]'   (without an engine)"""


def serve(context: typer.Context) -> None:
    """Start a server. It has its own options: genir serve --help."""
    try:
        from genir_server.__main__ import main

        code = main(list(context.args))
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("genir_server."):
            raise  # The server is installed, but a module of it is missing.
        note(*_HOW_TO_INSTALL.format(missing=error.name or "a module").splitlines(), style="")
        raise typer.Exit(ExitCode.NOT_INSTALLED) from error
    raise typer.Exit(code)
