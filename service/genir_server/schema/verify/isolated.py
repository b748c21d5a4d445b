"""Checks values in processes of their own, for schemas under which that may take for ever.

Like the workers that prepare schemas: a value that takes long is checked again in a process that
is kept for such values, so that they only wait for one another.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, BinaryIO

from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import Violation
from genir_server.python_process import start_python, wait_for_all
from genir_server.schema.isolation.forked_child import Children, Death
from genir_server.schema.isolation.worker_main import questions, read_frame, write_frame
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.verify.verifier import SchemaVerifier

if TYPE_CHECKING:
    from collections.abc import Callable

_MEMORY = 1 << 30
_WALL_SECONDS = 10.0
_WAITED = b"waited"
_MOST_WAITING = 4
_RETRY_SECONDS = 2.0
_TOO_LONG = "checking the value against the schema takes too long"


class VerificationProcess:
    """A process that checks values, started when it is first needed. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def check(self, request: bytes, seconds: float) -> list[Violation] | None:
        """What a value does wrong; None if finding out takes more than the processor time.

        Raises:
            GenirError: OVERLOADED; the machine was too busy to find out.

        """
        with self._lock:
            reply = self._ask(f"{seconds}\n".encode() + request)
        if reply == _WAITED:
            raise _overloaded("the machine is too busy to check the value; try again")
        if not reply:
            return None
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
        return start_python(
            "genir_server.schema.verify.isolated",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
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
        wait_for_all(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class Verification:
    """Two processes that check values: one for all, one for those that take long.

    Args:
        quick_seconds: processor time in the first.
        seconds: processor time in the second; a value that takes longer counts as invalid.

    """

    def __init__(self, quick_seconds: float = 0.1, seconds: float = 0.5) -> None:
        self._quick_seconds = quick_seconds
        self._seconds = seconds
        self._quick = VerificationProcess()
        self._slow = VerificationProcess()
        self._places = threading.Semaphore(_MOST_WAITING)

    def violations(self, text: str, draft: Draft, value: object) -> list[Violation]:
        """What a value does wrong. Blocks; for about `seconds` on a machine that is free.

        Raises:
            GenirError: OVERLOADED; too many values that take long are waiting, or the machine is
                too busy.

        """
        body = json.dumps({"schema": text, "draft": int(draft), "value": value}).encode()
        found = self._quick.check(body, self._quick_seconds)
        if found is not None:
            return found
        if not self._places.acquire(blocking=False):
            raise _overloaded("too many values that take long to check are waiting; try again")
        try:
            found = self._slow.check(body, self._seconds)
        finally:
            self._places.release()
        return [Violation("", "", "", _TOO_LONG)] if found is None else found

    def close(self) -> None:
        """Ends the processes. May be called more than once."""
        self._quick.close()
        self._slow.close()


def _overloaded(message: str) -> GenirError:
    return GenirError(Reason.OVERLOADED, message, retry_after=_RETRY_SECONDS)


class GuardedVerifier:
    """A verifier for a schema under which checking may take for ever.

    Attributes:
        may_block: always true; see `genir_server.schema.types.Verifier`.

    """

    may_block = True

    def __init__(self, verification: Verification, text: str, draft: Draft) -> None:
        self._check: Callable[[object], list[Violation]] = lambda value: verification.violations(
            text, draft, value
        )

    def violations(self, value: object) -> list[Violation]:
        """Every way in which the parsed JSON `value` fails the schema, at most 50.

        Raises:
            GenirError: OVERLOADED, see `Verification.violations`.

        """
        return self._check(value)


def main() -> None:
    """Answers frames until standard input ends."""
    requests: BinaryIO = os.fdopen(os.dup(0), "rb")
    replies: BinaryIO = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    children = Children(_checked, memory=_MEMORY)
    gc.freeze()
    for frame in questions(requests, children):
        seconds, _, request = frame.partition(b"\n")
        outcome = children.ask(request, seconds=float(seconds), wall_seconds=_WALL_SECONDS)
        write_frame(replies, _WAITED if outcome.death is Death.WAIT else outcome.body)


def _checked(body: bytes) -> bytes:
    request = json.loads(body)
    verifier = SchemaVerifier(request["schema"], Draft(request["draft"]))
    found = verifier.violations(request["value"])
    return json.dumps([asdict(violation) for violation in found]).encode()


if __name__ == "__main__":
    main()
