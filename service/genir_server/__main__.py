"""``python -m genir_server`` is ``genir serve``."""

from __future__ import annotations

import sys

from genir_server.supervision.signals import ignore_until_handled


def main(arguments: list[str]) -> int:
    """Runs a server until it is stopped or fails; returns the exit code.

    Args:
        arguments: the command line after ``genir serve``.
    """
    ignore_until_handled()
    # Imported late: this import takes most of the time until the port opens.
    from genir_server.app import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
