"""The program of a worker process.

It speaks in frames over standard input and output. The first frame in is a `WorkerConfiguration`,
answered by an empty frame once the worker is warm. Every further frame in is a `Job`, answered by
its `JobResult`. Each job runs in a forked child, so the worker stays as it was.
"""

from __future__ import annotations

import gc
import importlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from genir_server.schema.isolation.forked_child import ForkedChildren
from genir_server.schema.isolation.framing import read_frame, write_frame
from genir_server.schema.isolation.job import Job, WorkerConfiguration
from genir_server.schema.isolation.slowness import MACHINE

if TYPE_CHECKING:
    from genir_server.schema.isolation.job import Handler


def main() -> None:
    """Runs jobs until standard input ends."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    # What a library prints must not get between the frames.
    os.dup2(2, 1)
    first = read_frame(requests)
    if first is None:
        return
    configuration = WorkerConfiguration.decode(first)
    module = importlib.import_module(configuration.handler_module)
    handler: Handler = module.load_handler(configuration.settings)
    children = ForkedChildren(handler, memory_bytes=configuration.memory_bytes)
    MACHINE.factor()
    # Keeps what is loaded in memory pages that the children share.
    gc.freeze()
    write_frame(replies, b"")
    while True:
        children.fork_ahead()
        data = read_frame(requests)
        if data is None:
            break
        job = Job.decode(data)
        job = replace(job, cpu_seconds=job.cpu_seconds * MACHINE.factor())
        result = children.run(job)
        write_frame(replies, result.encode())
        if result.failure is None and handler.remember is not None:
            handler.remember(job.body)
            gc.freeze()
    children.close()


if __name__ == "__main__":
    main()
