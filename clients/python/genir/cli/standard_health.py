"""`genir health` on a port that serves grpc.health.v1 alone, such as a server's `--health-port`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import grpc
import typer

from genir._settings import DEFAULT_POLL_INTERVAL
from genir.cli.console import report, write_json
from genir.cli.exit_codes import ExitCode
from genir.errors import GenirError, UnavailableError

if TYPE_CHECKING:
    from genir import IRClient
    from genir.cli.progress import Spinner

_NAME = "readiness"


def has_no_service(error: GenirError) -> bool:
    """Whether the port does not know genir's own service."""
    return error.code is grpc.StatusCode.UNIMPLEMENTED


def show_probe(client: IRClient, spinner: Spinner, *, seconds: float, as_json: bool) -> None:
    """Shows what the readiness probe says.

    Args:
        client: a client of the port.
        spinner: shows the wait.
        seconds: maximum wait for the server to be ready; 0 for none.
        as_json: whether to write JSON.

    Raises:
        GenirError: the port does not answer, or does not know the probe either.
        typer.Exit: the server is not ready.

    """
    began = time.monotonic()
    while not (serving := _serving(client, waiting=bool(seconds))):
        waited = time.monotonic() - began
        if waited >= seconds:
            break
        spinner.show(f"not serving ({waited:.0f} s)")
        time.sleep(min(DEFAULT_POLL_INTERVAL, seconds - waited))
    if as_json:
        write_json(json.dumps({"advertised": serving, "service": "grpc.health.v1"}))
    else:
        report(
            f"{'ready':<9} {'yes' if serving else 'no'}",
            f"{'message':<9} This port serves grpc.health.v1 alone: {_NAME} is "
            f"{'SERVING' if serving else 'NOT_SERVING'}.",
        )
    if not serving:
        raise typer.Exit(ExitCode.UNAVAILABLE)


def _serving(client: IRClient, *, waiting: bool) -> bool:
    try:
        return client.probe(_NAME)
    except UnavailableError:
        if waiting:
            return False
        raise
