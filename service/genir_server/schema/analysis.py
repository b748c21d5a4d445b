"""What the pipeline finds out about a schema, and how that crosses from a worker to the server."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from genir_server.domain.errors import Reason
from genir_server.domain.types import Enforcement, SchemaNotice
from genir_server.schema.errors import SchemaRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is known about a schema that may be used.

    Attributes:
        draft: number of the draft: 4, 6, 7, 2019 or 2020.
        verifier_schema: the caller's schema with its regular expressions translated; None if
            that is the caller's own text.
        verifier_patterns: each expression in it that stands for another, and the caller's.
        engine_schema: JSON text that decoding enforces.
        relaxed_schema: the same without any narrowing.
        notices: keywords that decoding does not enforce as they stand.
        shown_full: the schema as compact text for the prompt.
        shown_without_descriptions: the same without what is meant for people.
        minimal_instance: compact JSON of a small valid value; None when none was found.
        min_tokens: no valid value fits in fewer tokens than this.
        closable_tokens: tokens of `minimal_instance`; 0 when none was found.
        verifier_bytes: memory that the compiled verifier may take in the server; None if the
            verifier is so large, or checking a value so slow, that it belongs in worker processes.
        node_seconds: upper bound of the time to check a value, for each of its keys and values.
        byte_seconds: the same for each byte of its JSON text; both add up. 0 without
            `verifier_bytes`.
        seconds: processor time of the whole analysis.
        compile_seconds: processor time of compiling the grammar.
        max_mask_seconds: time of the slowest mask that was tried.
        measured: the largest value found in the schema, by the name of the limit.

    """

    draft: int
    verifier_schema: str | None
    verifier_patterns: tuple[tuple[str, str], ...]
    engine_schema: str
    relaxed_schema: str
    notices: tuple[SchemaNotice, ...]
    shown_full: str
    shown_without_descriptions: str
    minimal_instance: str | None
    min_tokens: int
    closable_tokens: int
    verifier_bytes: int | None
    node_seconds: float
    byte_seconds: float
    seconds: float
    compile_seconds: float
    max_mask_seconds: float
    measured: dict[str, float]


_TEXTS = (
    "verifier_schema",
    "engine_schema",
    "relaxed_schema",
    "shown_full",
    "shown_without_descriptions",
    "minimal_instance",
)
# The JSON of so many notices or expressions is parsed at once. Parsing holds the interpreter's
# lock, so the event loop waits for it, although it runs in another thread.
_AT_ONCE = 100


def encode_reply(outcome: Analysis | SchemaRefusedError) -> bytes:
    """An analysis or a refusal as bytes.

    The first line is JSON: the sizes of the parts that follow. The first part is a JSON object.
    Texts are parts of their own, and equal texts are one part: a text of megabytes is not worth
    escaping. Notices and expressions follow as JSON arrays of bounded length.
    """
    if isinstance(outcome, SchemaRefusedError):
        refusal = {
            "reason": outcome.reason.value,
            "message": outcome.message,
            "metadata": outcome.metadata,
        }
        return _packed([_json({"refusal": refusal})])
    values = {each.name: getattr(outcome, each.name) for each in fields(outcome)}
    named = {name: values.pop(name) for name in _TEXTS}
    texts = list(dict.fromkeys(text for text in named.values() if text is not None))
    places = {text: place for place, text in enumerate(texts)}
    notices = [list(asdict(notice).values()) for notice in values.pop("notices")]
    patterns = values.pop("verifier_patterns")
    head = {
        "values": values,
        "texts": {name: places.get(text) for name, text in named.items()},
        "text_count": len(texts),
        "notice_count": len(notices),
    }
    parts = [_json(head), *(text.encode(errors="surrogatepass") for text in texts)]
    return _packed([*parts, *_arrays(notices), *_arrays(patterns)])


def decode_reply(body: bytes) -> Analysis:
    """The analysis that `encode_reply` wrote. It may be large: decode it in a thread.

    Raises:
        SchemaRefusedError: the refusal that `encode_reply` wrote.

    """
    first, *parts = _unpacked(body)
    head = json.loads(first)
    if "refusal" in head:
        refusal = head["refusal"]
        raise SchemaRefusedError(
            Reason(refusal["reason"]), refusal["message"], **refusal["metadata"]
        )
    count = head["text_count"]
    texts = [part.decode(errors="surrogatepass") for part in parts[:count]]
    items = [item for part in parts[count:] for item in json.loads(part)]
    notices, patterns = items[: head["notice_count"]], items[head["notice_count"] :]
    values: dict[str, Any] = head["values"]
    for name, place in head["texts"].items():
        values[name] = None if place is None else texts[place]
    return Analysis(
        **values,
        notices=tuple(
            SchemaNotice(keyword, pointer, Enforcement(enforcement), detail)
            for keyword, pointer, enforcement, detail in notices
        ),
        verifier_patterns=tuple(map(tuple, patterns)),
    )


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _arrays(items: Sequence[object]) -> list[bytes]:
    return [_json(items[at : at + _AT_ONCE]) for at in range(0, len(items), _AT_ONCE)]


def _packed(parts: list[bytes]) -> bytes:
    return b"".join([_json([*map(len, parts)]), b"\n", *parts])


def _unpacked(body: bytes) -> list[bytes]:
    at = body.index(b"\n")
    ends = [*itertools.accumulate(json.loads(body[:at]), initial=at + 1)]
    return [body[start:end] for start, end in itertools.pairwise(ends)]
