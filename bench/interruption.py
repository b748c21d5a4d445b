"""Lets a measurement end in order, whichever way it is told to stop."""

from __future__ import annotations

import signal

EXIT_CODE = 130
"""Exit code of a measurement that was interrupted."""


def treat_terminate_as_interrupt() -> None:
    """Has SIGTERM and SIGINT raise KeyboardInterrupt, also in a job that began in the background.

    Shells start such jobs with SIGINT ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
