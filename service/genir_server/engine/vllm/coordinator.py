"""Ends the coordinator of data-parallel ranks with the server, however the server ended.

vLLM starts the coordinator in a process of its own, which loads no plugins. A server that is killed
would leave it behind.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import TYPE_CHECKING

from genir_server.engine.parent_watch import end_with
from genir_server.patch_table.fits import applies

if TYPE_CHECKING:
    from collections.abc import Iterator


class ServersProcess(SpawnProcess):
    """A process that ends when the one that started it has died."""

    def run(self) -> None:
        """Runs the target, with a watch on the parent beside it."""
        end_with(os.getppid())
        # Nothing that a library prints may appear on the standard output of the server's command.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        super().run()


class _Context(SpawnContext):
    Process = ServersProcess


@contextmanager
def coordinator_ends_with_server() -> Iterator[None]:
    """Makes vLLM start its coordinator as a `ServersProcess`."""
    if not applies("data-parallel coordinator"):
        yield
        return
    from vllm.v1.engine import coordinator

    usual = coordinator.get_mp_context
    coordinator.get_mp_context = _Context
    try:
        yield
    finally:
        coordinator.get_mp_context = usual
