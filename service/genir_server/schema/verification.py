"""Checks values in a process of its own, for schemas under which that may take for ever."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, BinaryIO

from genir_server.core.types import Violation
from genir_server.schema.verifier import SchemaVerifier
from genir_server.schema.vocabulary import Draft
from genir_server.schema.worker import read_frame, write_frame

if TYPE_CHECKING:
    from collections.abc import Callable

_KEPT = 16
_MEMORY = 2 << 30
_TOO_LONG = "checking the value against the schema takes too long"


class VerificationProcess:
    """A process that checks values, started when it is first needed. Safe for several threads.

    Args:
        seconds: processor time for one value.

    """

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def violations(self, text: str, draft: Draft, value: object) -> list[Violation]:
        """What a value does wrong. Blocks for `seconds` at most, on a machine that is free."""
        request = {"schema": text, "draft": int(draft), "value": value}
        body = json.dumps(request).encode()
        with self._lock:
            reply = self._ask(body)
        if reply is None:
            return [Violation("", "", "", _TOO_LONG)]
        return [Violation(**violation) for violation in json.loads(reply)]

    def _ask(self, body: bytes) -> bytes | None:
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = self._start()
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            return None
        try:
            write_frame(stdin, body)
            reply = read_frame(stdout)
        except OSError:
            reply = None
        if reply is None:
            self._end()
        return reply

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.Popen(  # noqa: S603 - this interpreter, a module of this package
            [sys.executable, "-m", "genir_server.schema.verification", str(self._seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )

    def close(self) -> None:
        """Ends the process. May be called more than once."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class GuardedVerifier:
    """A verifier for a schema under which checking may take for ever.

    Attributes:
        may_block: always true; see `genir_server.schema.types.Verifier`.

    """

    may_block = True

    def __init__(self, process: VerificationProcess, text: str, draft: Draft) -> None:
        self._check: Callable[[object], list[Violation]] = lambda value: process.violations(
            text, draft, value
        )

    def violations(self, value: object) -> list[Violation]:
        """Every way in which the parsed JSON `value` fails the schema, at most 50."""
        return self._check(value)


def main() -> None:
    """Answers frames until standard input ends."""
    seconds = float(sys.argv[1])
    requests: BinaryIO = os.fdopen(os.dup(0), "rb")
    replies: BinaryIO = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kept: OrderedDict[tuple[str, int], SchemaVerifier] = OrderedDict()
    while (frame := read_frame(requests)) is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        request = json.loads(frame)
        key = request["schema"], request["draft"]
        if key not in kept:
            kept[key] = SchemaVerifier(request["schema"], Draft(request["draft"]))
        kept.move_to_end(key)
        if len(kept) > _KEPT:
            kept.popitem(last=False)
        found = kept[key].violations(request["value"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        reply = [
            {
                "instance_pointer": violation.instance_pointer,
                "schema_pointer": violation.schema_pointer,
                "keyword": violation.keyword,
                "message": violation.message,
            }
            for violation in found
        ]
        write_frame(replies, json.dumps(reply).encode())


if __name__ == "__main__":
    main()
