"""Progress on stderr."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from rich.text import Text

from genir.cli.console import note, stderr_console, write_stderr
from genir.cli.escapes import one_line
from genir.types import Accepted, AttemptStarted, Rewound, TextDelta

if TYPE_CHECKING:
    from types import TracebackType

    from rich.status import Status

    from genir.types import ServerHealth, StreamEvent

_LINE_INTERVAL = 10.0


class Spinner:
    """A line that changes in place on a terminal, and is absent elsewhere."""

    def __init__(self, text: str, *, visible: bool = True) -> None:
        self._status: Status | None = None
        if visible and sys.stderr.isatty():
            self._status = stderr_console().status(text)

    @property
    def visible(self) -> bool:
        """Whether the line is shown."""
        return self._status is not None

    def show(self, text: str) -> None:
        """Changes the line."""
        if self._status is not None:
            # Text, because rich would interpret markup in a plain string.
            self._status.update(Text(one_line(text)))

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()


class WaitProgress:
    """Shows the start of a server: in place on a terminal, else a line every 10 seconds."""

    def __init__(self, spinner: Spinner, *, quiet: bool = False) -> None:
        self._spinner = spinner
        self._quiet = quiet
        self._began = time.monotonic()
        self._last_state = ""
        self._last_line = 0.0

    def __call__(self, health: ServerHealth | None) -> None:
        """Shows the result of a health check; None means that the server did not answer."""
        waited = time.monotonic() - self._began
        state = "no answer yet" if health is None else health.phase.replace("_", " ")
        text = f"{state} ({waited:.0f} s)"
        if health is not None and health.message:
            text += f": {health.message}"
        self._spinner.show(text)
        due = state != self._last_state or waited - self._last_line >= _LINE_INTERVAL
        if due and not self._quiet and not self._spinner.visible:
            note(text, style="")
            self._last_state, self._last_line = state, waited


class GenerationProgress:
    """Shows the progress of a generation: its text with `stream`, else its number of tokens."""

    def __init__(self, spinner: Spinner, *, stream: bool) -> None:
        self._spinner = spinner
        self._stream = stream
        self._tokens = 0
        self._line_open = False

    def __call__(self, event: StreamEvent[object]) -> None:
        """Shows an event."""
        match event:
            case Accepted():
                self._spinner.show(f"reading {event.prompt_tokens} prompt tokens")
            case AttemptStarted(number=number, reason=reason) if number > 1:
                self.end_line()
                note(f"attempt {number}; the attempt before: {reason.replace('_', ' ')}")
            case TextDelta(text=text, token_count=count):
                self._tokens += count
                self._spinner.show(f"{self._tokens} tokens written")
                if self._stream:
                    write_stderr(text)
                    self._line_open = True
            case Rewound(to_bytes=size):
                if self._stream:
                    self.end_line()
                    note(f"the text goes on after its first {size} bytes")

    def end_line(self) -> None:
        """Ends the line of streamed text, if there is one."""
        if self._line_open:
            sys.stderr.write("\n")
            self._line_open = False
