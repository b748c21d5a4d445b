"""Step 5, verify: whether a finished text is a valid IR, and what is wrong with it if not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.core.normalize import (
    DUPLICATE_KEY,
    NotNormalizableError,
    NotNormalizableKind,
    normal_form,
)
from genir_server.domain.errors import Reason
from genir_server.domain.types import FinishReason, Violation

if TYPE_CHECKING:
    from genir_server.schema.types import PreparedSchema


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification found.

    Attributes:
        ir_json: the IR in normal form; empty if the text is not a valid IR.
        reason: why the text is not a valid IR; None if it is.
        violations: what is wrong with it.
        duplicate_key: whether an object has the same key twice, which a tighter form of the schema
            can rule out in the next attempt.
    """

    ir_json: str = ""
    reason: Reason | None = None
    violations: tuple[Violation, ...] = ()
    duplicate_key: bool = False


def verify(raw: str, finish_reason: FinishReason | None, schema: PreparedSchema) -> Verdict:
    """Normalizes what the model wrote and checks it against the caller's own schema.

    `finish_reason` matters only for text that is not complete JSON. Such text is TRUNCATED if the
    model reached max_tokens. Otherwise the constraint did not hold, which is CONSTRAINT_FAILED:
    llguidance ends a request that reaches one of its own limits with a plain stop.
    """
    try:
        # The normalized text is parsed again, so that what is verified is what is sent.
        ir_json = normal_form(raw)
        violations = tuple(schema.verifier.violations(json.loads(ir_json)))
    except NotNormalizableError as fault:
        if fault.kind is NotNormalizableKind.NO_NORMAL_FORM:
            violation = Violation("", "", "", str(fault))
            return Verdict(
                reason=Reason.VALIDATION_FAILED,
                violations=(violation,),
                duplicate_key=fault.message == DUPLICATE_KEY,
            )
        cut = finish_reason is FinishReason.LENGTH
        return Verdict(reason=Reason.TRUNCATED if cut else Reason.CONSTRAINT_FAILED)
    if violations:
        return Verdict(reason=Reason.VALIDATION_FAILED, violations=violations)
    return Verdict(ir_json=ir_json)
