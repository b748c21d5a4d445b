"""Checks answers with python-jsonschema, which shares no code with the verifier."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema
from jsonschema_specifications import REGISTRY
from referencing.exceptions import Unresolvable

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_NEWEST_FIRST = (
    jsonschema.Draft202012Validator,
    jsonschema.Draft201909Validator,
    jsonschema.Draft7Validator,
    jsonschema.Draft6Validator,
    jsonschema.Draft4Validator,
)


class CannotValidateError(Exception):
    """python-jsonschema cannot use the schema. The message has the reason."""


def second_opinion(schema: str, answer: str) -> str | None:
    """The first error that python-jsonschema finds in an answer. None if it is valid.

    Asserts the formats that the installed packages support. Patterns are those of Python. Fetches
    nothing.

    Args:
        schema: the caller's schema, as JSON text.
        answer: the IR, as JSON text.

    Raises:
        CannotValidateError: it cannot use the schema.

    """
    parsed: Any = json.loads(schema)
    kind = _kind(parsed)
    validator = kind(parsed, registry=REGISTRY, format_checker=kind.FORMAT_CHECKER)
    try:
        error = next(validator.iter_errors(json.loads(answer)), None)
    except (re.error, Unresolvable, RecursionError, TypeError, ValueError) as fault:
        raise CannotValidateError(f"{type(fault).__name__}: {fault}"[:200]) from None
    return None if error is None else f"{error.json_path}: {error.message}"[:300]


def _kind(schema: Any) -> type[Validator]:  # noqa: ANN401 - any JSON
    """The draft named by `$schema`. Without it, the newest draft whose meta-schema accepts it."""
    if isinstance(schema, dict) and "$schema" in schema:
        # Some schemas write https for the older drafts, or omit the #.
        bare = str(schema["$schema"]).strip().rstrip("#").partition("://")[2]
        for kind in _NEWEST_FIRST:
            if str(kind.META_SCHEMA["$schema"]).rstrip("#").partition("://")[2] == bare:
                return kind
        return _NEWEST_FIRST[0]
    for kind in _NEWEST_FIRST:
        try:
            kind.check_schema(schema)
        except jsonschema.SchemaError:
            continue
        return kind
    raise CannotValidateError("it passes no meta-schema")
