"""Step 5, verify: whether a finished text is a valid IR, and what is wrong with it if not."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from genir_server.core.normalize import (
    DUPLICATE_KEY,
    NotNormalizableError,
    NotNormalizableKind,
    normal_form,
)
from genir_server.domain.errors import Reason
from genir_server.domain.types import FinishReason, Violation

if TYPE_CHECKING:
    from genir_server.schema.types import PreparedSchema, Verifier, VerifierSource

MAX_INLINE_SECONDS = 0.002
"""Longest step, by its upper bound, in the event loop's thread: to normalize, or to check."""

# To read a text and write its normal form: for each key and value, and for each character.
_NORMALIZE_NODE_SECONDS = 7e-6
_NORMALIZE_CHARACTER_SECONDS = 50e-9
# Numbers from 1e21 and below 1e-6 are written with an exponent in normal form. Comparing them
# takes up to a hundred times as long as the cost of a schema says.
_EXPONENT = re.compile(r"\de[+-]\d")
_NODE_STARTS = ",:[{"


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


class BoundedVerification(Protocol):
    """Verifies texts with limits on time and memory, outside the event loop."""

    async def verdict(
        self, raw: str, finish_reason: FinishReason | None, source: VerifierSource, caller: str
    ) -> Verdict:
        """The verdict on a text, with its violations; see `Verification.verdict`."""
        ...


class Verification:
    """Verifies the texts of all calls.

    A check that is certain to be quick runs in the event loop's thread, one in each iteration of
    the loop. All others, and the listing of violations, run in worker processes with limits,
    which callers share fairly.

    Args:
        isolated: the worker processes.
    """

    def __init__(self, isolated: BoundedVerification) -> None:
        self._isolated = isolated
        self._turn = asyncio.Lock()

    async def verdict(
        self,
        raw: str,
        finish_reason: FinishReason | None,
        schema: PreparedSchema,
        caller: str = "",
    ) -> Verdict:
        """Normalizes what the model wrote and checks it against the caller's own schema.

        Args:
            raw: the finished text.
            finish_reason: why the engine stopped.
            schema: the schema in force.
            caller: whose call it is.

        Raises:
            GenirError: OVERLOADED if the worker processes are too busy; DRAINING.
        """
        verifier = schema.verifier
        if verifier is not None and max_normalize_seconds(raw) <= MAX_INLINE_SECONDS:
            async with self._turn:
                verdict = _quick_verdict(raw, finish_reason, schema, verifier)
                # The next check waits for the next iteration, which serves all other events first.
                await asyncio.sleep(0)
            if verdict is not None:
                return verdict
        return await self._isolated.verdict(raw, finish_reason, schema.source, caller)


def _quick_verdict(
    raw: str, finish_reason: FinishReason | None, schema: PreparedSchema, verifier: Verifier
) -> Verdict | None:
    """The verdict if it takes little time; None if a worker process has to find it."""
    try:
        ir_json = normal_form(raw)
    except NotNormalizableError as fault:
        return not_normalizable(fault, finish_reason)
    if max_check_seconds(ir_json, schema) > MAX_INLINE_SECONDS:
        return None
    return Verdict(ir_json=ir_json) if verifier.is_valid(json.loads(ir_json)) else None


def max_normalize_seconds(raw: str) -> float:
    """Upper bound of the processor time to bring a text into normal form."""
    return _NORMALIZE_NODE_SECONDS * _nodes(raw) + _NORMALIZE_CHARACTER_SECONDS * len(raw)


def max_check_seconds(ir_json: str, schema: PreparedSchema) -> float:
    """Upper bound of the processor time to check a value against a schema.

    Args:
        ir_json: the value in normal form.
        schema: the schema.
    """
    if _EXPONENT.search(ir_json):
        return float("inf")
    return schema.node_seconds * _nodes(ir_json) + schema.byte_seconds * len(ir_json.encode())


def _nodes(text: str) -> int:
    """At least the number of keys and values in a JSON text."""
    return 1 + sum(map(text.count, _NODE_STARTS))


def full_verdict(
    raw: str, finish_reason: FinishReason | None, verifier: Verifier, max_violations: int
) -> Verdict:
    """The verdict with its violations. It may take long.

    Args:
        raw: the finished text.
        finish_reason: why the engine stopped.
        verifier: the compiled schema.
        max_violations: how many violations are listed.
    """
    try:
        # The normalized text is parsed again, so that what is verified is what is sent.
        ir_json = normal_form(raw)
    except NotNormalizableError as fault:
        return not_normalizable(fault, finish_reason)
    violations = tuple(verifier.violations(json.loads(ir_json), max_violations))
    if violations:
        return Verdict(reason=Reason.VALIDATION_FAILED, violations=violations)
    return Verdict(ir_json=ir_json)


def not_normalizable(fault: NotNormalizableError, finish_reason: FinishReason | None) -> Verdict:
    """The verdict on text without a normal form.

    `finish_reason` matters only for text that is not complete JSON. Such text is TRUNCATED if the
    model reached max_tokens. Otherwise the constraint did not hold, which is CONSTRAINT_FAILED:
    llguidance ends a request that reaches one of its own limits with a plain stop.
    """
    if fault.kind is NotNormalizableKind.NO_NORMAL_FORM:
        return Verdict(
            reason=Reason.VALIDATION_FAILED,
            violations=(Violation("", "", "", str(fault)),),
            duplicate_key=fault.message == DUPLICATE_KEY,
        )
    cut = finish_reason is FinishReason.LENGTH
    return Verdict(reason=Reason.TRUNCATED if cut else Reason.CONSTRAINT_FAILED)
