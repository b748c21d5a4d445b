"""Defines a hostile schema and its allowed outcomes."""

from __future__ import annotations

import json
from dataclasses import dataclass

OK = "OK"
DEFAULT_MAX_TOKENS = 120
DECODED = frozenset({OK, "TRUNCATED", "VALIDATION_FAILED", "CONSTRAINT_FAILED"})
"""Allowed outcomes of an accepted schema. Which one occurs depends on the model."""


@dataclass(frozen=True, slots=True)
class Case:
    """One attack.

    Attributes:
        name: name in reports.
        text: the schema as it is sent.
        expected: every documented outcome: "OK", a reason, or
            "SCHEMA_TOO_COMPLEX:limit" where the limit must be named.
        attacks: the part of the server under attack.
        max_tokens: of the request.
        priority: of the request.

    """

    name: str
    text: str
    expected: frozenset[str]
    attacks: str
    max_tokens: int = DEFAULT_MAX_TOKENS
    priority: int = 0

    def allows(self, reason: str, limit: str) -> bool:
        """Whether an outcome is one of those expected."""
        return reason in self.expected or f"{reason}:{limit}" in self.expected


def compact(schema: object) -> str:
    """The schema as text."""
    return json.dumps(schema, separators=(",", ":"))


def refused(name: str, attacks: str, schema: object, *reasons: str) -> Case:
    """A case that must be refused, for one of the reasons."""
    text = schema if isinstance(schema, str) else compact(schema)
    return Case(name, text, frozenset(reasons), attacks)


def too_complex(name: str, attacks: str, schema: object, *limits: str) -> Case:
    """A case that must be refused because of one of the limits."""
    return refused(name, attacks, schema, *(f"SCHEMA_TOO_COMPLEX:{limit}" for limit in limits))


def borne(
    name: str,
    attacks: str,
    schema: object,
    *others: str,
    max_tokens: int = DEFAULT_MAX_TOKENS,
) -> Case:
    """A case that may be accepted, and then must do no harm, or refused for other reasons.

    Args:
        name: name in reports.
        attacks: the part of the server under attack.
        schema: the schema, or its text.
        others: reasons for which it may be refused.
        max_tokens: of the request.

    """
    text = schema if isinstance(schema, str) else compact(schema)
    return Case(name, text, DECODED | frozenset(others), attacks, max_tokens)
