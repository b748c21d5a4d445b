"""The real transport over an engine that writes at once, as a process of its own.

Its memory is then its own too, and it takes nothing else along if it falls.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.support.in_process_server import serving


async def main() -> None:
    """Serves until killed; writes the port to standard output."""
    async with serving(
        auth_file=Path(sys.argv[1]),
        message_timeout=2,
        max_connections=32,
        # More than all the connections of one test may have streams.
        max_concurrent_calls=2100,
        max_streams_per_connection=64,
        default_deadline=20,
    ) as served:
        print(served.target.rpartition(":")[2], flush=True)  # noqa: T201 - the port, for the test.
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
