"""Configures logging of genir and of Python libraries such as vLLM, to standard error.

JSON lines by default, readable lines on a terminal. Native code such as grpc-core writes its own
lines to standard error, which do not pass through here. Standard output stays empty.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Literal

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor


_MAX_FOREIGN_EVENT_CHARACTERS = 2_000
_ENGINE_STATE = "\n<state>"


def configure_logging(
    form: Literal["auto", "json", "console"] = "auto",
    level: Literal["debug", "info", "warning", "error"] = "info",
) -> None:
    """Sends the records of structlog and of the standard library to standard error.

    Args:
        form: the form of a line; "auto" is "console" on a terminal and "json" elsewhere.
        level: the lowest level that is logged.
    """
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
    ]
    rendering: list[Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                # The default formatter prints local variables, which may contain prompts.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _cut_foreign_event],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)


def _cut_foreign_event(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Shortens long messages of libraries: llguidance, for example, quotes the whole schema."""
    text = str(event.get("event", ""))
    head = text.partition(_ENGINE_STATE)[0]
    if len(head) > _MAX_FOREIGN_EVENT_CHARACTERS:
        head = f"{head[:_MAX_FOREIGN_EVENT_CHARACTERS]}…"
    event["event"] = head
    return event
