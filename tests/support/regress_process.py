"""Runs `regress`, which has no limits on memory or time, in a process that has them."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import regress

if TYPE_CHECKING:
    from collections.abc import Sequence

_MEMORY_BYTES = 2 << 30
_SECONDS = 5


class GaveUpError(Exception):
    """The engine ran out of memory or time."""


class RegressProcess:
    """A process that matches regular expressions of ECMA-262 with the flag `u`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def matches(self, pattern: str, texts: Sequence[str] = ()) -> list[bool] | None:
        """Which texts match; None if the pattern is not ECMA-262.

        Raises:
            GaveUpError: it takes too much memory or time.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([pattern, *texts]) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            self.close()
            raise GaveUpError
        found: list[bool] | None = json.loads(answer)
        return found

    def close(self) -> None:
        """Ends the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            with process:
                process.kill()

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.regress_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self._process


def main() -> None:
    """Answers each line of standard input: a pattern and texts as a JSON array."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        pattern, *texts = json.loads(line)
        found: list[bool] | None = None
        signal.alarm(_SECONDS)
        with contextlib.suppress(regress.RegressError):
            engine = regress.Regex(pattern, "u")
            found = [engine.find(text) is not None for text in texts]
        signal.alarm(0)
        print(json.dumps(found), flush=True)  # noqa: T201 - the answer.


if __name__ == "__main__":
    main()
