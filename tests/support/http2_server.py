"""Runs the transport with a scripted engine as a separate process.

A test can measure its memory, and a crash does not end the tests.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.support.in_process_server import serving


async def main() -> None:
    """Serves until killed. Prints the port to standard output."""
    async with serving(
        auth_file=Path(sys.argv[1]),
        message_timeout=2,
        max_connections=32,
        # More than one test can have streams on all connections.
        max_concurrent_calls=2100,
        max_calls_per_caller=2100,
        max_streams_per_connection=64,
        default_deadline=20,
    ) as served:
        print(served.target.rpartition(":")[2], flush=True)  # noqa: T201 - the test reads the port.
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
