"""``python -m genir_server`` is ``genir serve``."""

from __future__ import annotations

import sys

from genir_server.app import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
