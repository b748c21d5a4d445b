"""Types of the built-in IR, for type checkers: `IR` is the ``value`` of a call without a schema.

The built-in schema (``genir schema`` prints it) says more: lengths, patterns and what each part is
for. A value is a plain dict, as `json.loads` makes it.
"""

# Not `from __future__ import annotations`: with it, Python 3.11 takes every key for required.
from typing import Literal, NotRequired, TypeAlias, TypedDict

Severity: TypeAlias = Literal["error", "warning", "info"]
"""What breaking a constraint means."""


class Intent(TypedDict):
    """Why the function exists."""

    summary: str
    rationale: NotRequired[str]


class Parameter(TypedDict):
    """One parameter of the function."""

    name: str
    type_hint: str
    description: NotRequired[str]


class Signature(TypedDict):
    """How the function is called."""

    name: str
    parameters: list[Parameter]
    returns: str


class Effect(TypedDict):
    """What a call changes or touches besides its result."""

    description: str


class Assertion(TypedDict):
    """What must hold for every call."""

    predicate: str
    rationale: NotRequired[str]


class ReturnConstraint(TypedDict):
    """What the function has to return."""

    type: Literal["return"]
    severity: Severity
    value: str


class LoopConstraint(TypedDict):
    """How a loop goes through its items."""

    type: Literal["loop"]
    severity: Severity
    over: str
    stops: Literal["first_match", "last_match", "all_items"]


class PositionConstraint(TypedDict):
    """Where two things stand to each other."""

    type: Literal["position"]
    severity: Severity
    first: str
    relation: Literal["before", "after", "adjacent", "not_adjacent", "inside", "outside"]
    second: str


Constraint: TypeAlias = ReturnConstraint | LoopConstraint | PositionConstraint
"""A rule on the shape of the implementation; its `type` says which."""


class Hole(TypedDict):
    """A place left open on purpose."""

    identifier: str
    kind: Literal["intent", "signature", "effect", "assertion", "implementation"]
    type_hint: str
    description: str


class Metadata(TypedDict):
    """Where the IR comes from."""

    source_path: NotRequired[str]
    language: NotRequired[str]
    origin: NotRequired[str]
    evidence: NotRequired[str]


class IR(TypedDict):
    """What one function is for and how it must behave, apart from any implementation."""

    intent: Intent
    signature: Signature
    effects: list[Effect]
    assertions: list[Assertion]
    constraints: NotRequired[list[Constraint]]
    holes: NotRequired[list[Hole]]
    metadata: Metadata
