"""What the pipeline finds out about a schema, and how that crosses from a worker to the server."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from genir_server.domain.errors import Reason
from genir_server.domain.types import Enforcement, SchemaNotice
from genir_server.schema.errors import SchemaRefusedError


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
    verifier_bytes: int | None
    node_seconds: float
    byte_seconds: float
    seconds: float
    compile_seconds: float
    max_mask_seconds: float
    measured: dict[str, float]


def encode_reply(outcome: Analysis | SchemaRefusedError) -> bytes:
    """An analysis or a refusal as JSON."""
    if isinstance(outcome, SchemaRefusedError):
        refusal = {
            "reason": outcome.reason.value,
            "message": outcome.message,
            "metadata": outcome.metadata,
        }
        return json.dumps({"refusal": refusal}).encode()
    return json.dumps({"analysis": asdict(outcome)}).encode()


def decode_reply(body: bytes) -> Analysis:
    """The analysis that `encode_reply` wrote. It may be large: decode it in a thread.

    Raises:
        SchemaRefusedError: the refusal that `encode_reply` wrote.

    """
    reply = json.loads(body)
    if "refusal" in reply:
        refusal = reply["refusal"]
        raise SchemaRefusedError(
            Reason(refusal["reason"]), refusal["message"], **refusal["metadata"]
        )
    fields = reply["analysis"]
    fields["notices"] = tuple(
        SchemaNotice(
            notice["keyword"],
            notice["pointer"],
            Enforcement(notice["enforcement"]),
            notice["detail"],
        )
        for notice in fields["notices"]
    )
    fields["verifier_patterns"] = tuple(map(tuple, fields["verifier_patterns"]))
    return Analysis(**fields)
