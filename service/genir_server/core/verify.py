"""Decides what a finished text is: a valid IR in normal form, or what is wrong with it."""

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
    """`ir_json` when the text is a valid IR; otherwise the `reason` and the violations found.

    `key_written_twice` is the one violation that decoding can rule out next time.
    """

    ir_json: str = ""
    reason: Reason | None = None
    violations: tuple[Violation, ...] = ()
    key_written_twice: bool = False


def judge(raw: str, finish_reason: FinishReason | None, schema: PreparedSchema) -> Verdict:
    """Parses, normalizes and verifies what the model wrote.

    How the engine says it finished matters only for text that is not complete JSON: cut at
    max_tokens it is TRUNCATED, otherwise the constraint did not hold (llguidance ends a request
    that runs into one of its own limits as a plain stop), which is CONSTRAINT_FAILED.
    """
    try:
        # What is verified is what is sent: the normalized text, parsed again.
        ir_json = normal_form(raw)
        violations = tuple(schema.verifier.violations(json.loads(ir_json)))
    except NotNormalizableError as fault:
        if fault.kind is NotNormalizableKind.NO_NORMAL_FORM:
            violation = Violation("", "", "", str(fault))
            return Verdict(
                reason=Reason.VALIDATION_FAILED,
                violations=(violation,),
                key_written_twice=fault.message == DUPLICATE_KEY,
            )
        cut = finish_reason is FinishReason.LENGTH
        return Verdict(reason=Reason.TRUNCATED if cut else Reason.CONSTRAINT_FAILED)
    if violations:
        return Verdict(reason=Reason.VALIDATION_FAILED, violations=violations)
    return Verdict(ir_json=ir_json)
