"""The process in which callers' schemas are read and compiled.

Speaks in frames over standard input and output: four bytes of length, big-endian, and JSON. The
first frame in is the configuration; then each frame in is a schema's text, and each frame out an
analysis or a refusal. Memory and processor time are limited: beyond them the process dies.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from typing import IO

from genir_server.core.errors import Reason
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.refusal import SchemaRefusedError, too_complex

_HEAD = 4


def main() -> None:
    """Answers frames until standard input ends."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not get between the frames.
    os.dup2(2, 1)
    configuration = read_frame(requests)
    if configuration is None:
        return
    settings = json.loads(configuration)
    limits = SchemaLimits(**settings["limits"])

    from genir_server.schema import engine
    from genir_server.schema.analysis import Analyser

    tokenizer = engine.load_tokenizer(settings["tokenizer"])
    analyser = Analyser(tokenizer, limits, NarrowingBounds(**settings["bounds"]))
    # What the tokenizer itself takes is not the schema's fault.
    most = limits.probe_bytes + _address_space()
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    write_frame(replies, b"{}")
    while (text := read_frame(requests)) is not None:
        # Ends the process wherever it is, inside of a library as well.
        signal.setitimer(signal.ITIMER_PROF, limits.probe_seconds)
        try:
            reply: dict[str, object] = asdict(analyser.analyse(text.decode()))
        except SchemaRefusedError as refusal:
            reply = _refusal(refusal)
        except MemoryError:
            reply = _refusal(out_of_memory(limits))
        except RecursionError:
            reply = _refusal(
                SchemaRefusedError(Reason.SCHEMA_TOO_COMPLEX, "The schema is nested too deeply")
            )
        signal.setitimer(signal.ITIMER_PROF, 0)
        reply["resident_bytes"] = _resident()
        write_frame(replies, json.dumps(reply).encode())


def out_of_memory(limits: SchemaLimits) -> SchemaRefusedError:
    """The refusal of a schema that takes too much memory."""
    return too_complex(
        "Preparing the schema takes too much memory",
        "probe_bytes",
        limits.probe_bytes,
        f"more than {limits.probe_bytes}",
    )


def read_frame(stream: IO[bytes]) -> bytes | None:
    """The next frame; None when the stream has ended."""
    head = stream.read(_HEAD)
    if len(head) < _HEAD:
        return None
    return stream.read(int.from_bytes(head, "big"))


def write_frame(stream: IO[bytes], body: bytes) -> None:
    """Sends a frame."""
    stream.write(len(body).to_bytes(_HEAD, "big") + body)
    stream.flush()


def _refusal(refusal: SchemaRefusedError) -> dict[str, object]:
    return {
        "reason": refusal.reason.value,
        "message": refusal.message,
        "metadata": refusal.metadata,
    }


def _address_space() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - a file of the kernel's
        return int(statm.read().split()[0]) * resource.getpagesize()


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    # Nothing here may outlive the server.
    sys.setrecursionlimit(2_000)
    main()
