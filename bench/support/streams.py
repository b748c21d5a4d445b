"""Runs streams side by side and records what each received and how it ended."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from genir import GenirError, IRClient
from genir.types import Completed, TextDelta

if TYPE_CHECKING:
    from collections.abc import Iterator


from bench.support.tiny_server import ENDLESS, NO_RETRIES

BEGIN_SECONDS = 60.0


@dataclass(slots=True)
class Stream:
    """A stream that a thread reads: the text so far, how it ended, and when."""

    text: str = ""
    completed: bool = False
    error: GenirError | None = None
    ended_at: float = 0.0
    began: threading.Event = field(default_factory=threading.Event)


@contextmanager
def streams(target: str, count: int, **options: object) -> Iterator[list[Stream]]:
    """Runs streams concurrently.

    Enters when every stream has received text, and leaves when every stream has ended.

    Raises:
        TimeoutError: a stream received nothing within `BEGIN_SECONDS`.

    """
    running = [Stream() for _ in range(count)]
    merged: dict[str, Any] = {
        "schema": ENDLESS,
        "max_tokens": 3000,
        "schema_in_prompt": "never",
        **options,
    }

    def run(client: IRClient, stream: Stream) -> None:
        try:
            with client.stream("Write on and on.", **merged) as events:
                for event in events:
                    if isinstance(event, TextDelta):
                        stream.text += event.text
                        stream.began.set()
                    stream.completed = isinstance(event, Completed)
        except GenirError as error:
            stream.error = error
        finally:
            stream.ended_at = time.monotonic()
            stream.began.set()

    with IRClient(target, retry=NO_RETRIES, timeout=200) as client:
        threads = [threading.Thread(target=run, args=(client, stream)) for stream in running]
        for thread in threads:
            thread.start()
        try:
            for stream in running:
                if not stream.began.wait(BEGIN_SECONDS):
                    raise TimeoutError(f"no text after {BEGIN_SECONDS} s")
            yield running
        finally:
            for thread in threads:
                thread.join()
