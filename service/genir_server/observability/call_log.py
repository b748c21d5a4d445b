"""Logs one line per call, with the fields that docs/operations.md lists."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genir_server.observability.call_record import CallEnd, CallRecord

log = structlog.get_logger("genir.call")


class CallLog:
    """Logs each call when it ends."""

    def call_began(self, record: CallRecord, trace_context: Mapping[str, str]) -> None:
        """Does nothing: a call is logged when it ends."""

    def call_ended(self, record: CallRecord, end: CallEnd) -> None:
        """Logs the call."""
        # Probes and waiting clients call Health often, so a successful check is logged at debug.
        facts = end.facts.keys() - {"trace_id", "caller"}
        routine = record.method == "Health" and end.code == "OK" and not facts
        log.log(
            logging.DEBUG if routine else logging.INFO,
            "call",
            method=record.method,
            request_id=record.request_id,
            code=end.code,
            seconds=round(end.seconds, 4),
            **end.facts,
        )
