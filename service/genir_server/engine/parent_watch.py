"""Ends an engine process when the process that started it has died, however it died."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

CHECK_SECONDS = 0.2
"""Seconds between two checks that the parent process is alive."""


def end_with(parent: int) -> None:
    """Ends this process when the one with that process id is no longer its parent."""

    def watch() -> None:
        # The kernel's parent-death signal depends on the *thread* that started this process.
        while os.getppid() == parent and not _starter_has_died():
            time.sleep(CHECK_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="genir-parent-watch", daemon=True).start()


def _starter_has_died() -> bool:
    """Whether the process that asked for this one has died; a forked core has another parent."""
    starter = multiprocessing.parent_process()
    return starter is not None and not starter.is_alive()
