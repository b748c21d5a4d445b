"""The process in which callers' schemas are read and compiled.

Speaks in frames over standard input and output: four bytes of length, big-endian, and a body. The
first frame in is the configuration, as JSON; then each frame in is the processor time allowed, the
time by the clock, in seconds, and the number of a `Tightening`, with spaces between, a line end,
and a schema's text; each frame out is JSON: an analysis or a refusal, with ``resident_bytes``, or
``death``, a `genir_server.schema.isolation.forked_child.Death`.

Every schema gets a child of its own, so that whatever it does leaves this process as it was.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from dataclasses import asdict
from functools import partial
from typing import IO, TYPE_CHECKING

from genir_server.domain.types import Tightening
from genir_server.schema.errors import SchemaRefusedError, too_complex
from genir_server.schema.isolation.forked_child import Children
from genir_server.schema.limits import NarrowingBounds, SchemaLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genir_server.schema.pipeline import Analyser

_HEAD = 4
_REHEARSED = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z]+$"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True},
            "at": {"type": "string", "format": "date-time"},
            "size": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
            "next": {"$ref": "#/$defs/next"},
        },
        "required": ["name", "size"],
        "additionalProperties": False,
        "$defs": {"next": {"type": "object", "properties": {"size": {"type": "number"}}}},
    }
)


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

    from genir_server.schema.grammar import guidance as engine
    from genir_server.schema.pipeline import Analyser

    tokenizer = engine.load_tokenizer(settings["tokenizer"])
    analyser = Analyser(
        tokenizer,
        limits,
        NarrowingBounds(**settings["bounds"]),
        for_xgrammar=settings["for_xgrammar"],
    )
    children = Children(
        partial(_analysis, analyser),
        memory=limits.probe_bytes,
        rehearse=partial(_rehearse, analyser),
    )
    # What is loaded stays shared with the children.
    gc.freeze()
    write_frame(replies, b"{}")
    for frame in questions(requests, children):
        head, _, question = frame.partition(b" ")
        wall_seconds, _, question = question.partition(b" ")
        outcome = children.ask(question, seconds=float(head), wall_seconds=float(wall_seconds))
        if outcome.death is None:
            # An analysis may be large: it is not read here.
            body = f'{{"resident_bytes": {outcome.resident}, '.encode() + outcome.body[1:]
        else:
            body = json.dumps({"death": outcome.death.value}).encode()
        write_frame(replies, body)


def _analysis(analyser: Analyser, question: bytes) -> bytes:
    number, _, text = question.partition(b"\n")
    try:
        analysis = analyser.analyse(text.decode(), Tightening(int(number)))
        reply: dict[str, object] = asdict(analysis)
    except SchemaRefusedError as refusal:
        reply = _refused(refusal)
    except RecursionError:
        reply = _refused(
            too_complex(
                "Preparing the schema calls too many functions one inside the next",
                "recursion",
                sys.getrecursionlimit(),
            )
        )
    return json.dumps(reply).encode()


def _rehearse(analyser: Analyser) -> None:
    """Goes once through what most schemas need."""
    asdict(analyser.analyse(_REHEARSED))


def _refused(refusal: SchemaRefusedError) -> dict[str, object]:
    return {
        "reason": refusal.reason.value,
        "message": refusal.message,
        "metadata": refusal.metadata,
    }


def questions(stream: IO[bytes], children: Children) -> Iterator[bytes]:
    """Frames until the stream ends, with a child that stands by for each."""
    while True:
        children.stand_by()
        frame = read_frame(stream)
        if frame is None:
            children.close()
            return
        yield frame


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


if __name__ == "__main__":
    sys.setrecursionlimit(2_000)
    main()
