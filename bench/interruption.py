"""Shuts a measurement down cleanly on SIGTERM and SIGINT."""

from __future__ import annotations

import signal

EXIT_CODE = 130
"""Exit code of a measurement that was interrupted."""


def treat_terminate_as_interrupt() -> None:
    """Makes SIGTERM and SIGINT raise KeyboardInterrupt, also in a background job.

    Shells start such jobs with SIGINT ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
