"""Reads the values of settings of the form NAME=VALUE, which arrive as text or as JSON."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from typing import Any

from genir_server.schema.limits import SchemaLimits

# The limit on the text has a setting of its own, because it applies before anything is parsed.
_SCHEMA_LIMITS = {
    name: default for name, default in asdict(SchemaLimits()).items() if name != "schema_bytes"
}


def json_or_text(value: Any) -> Any:  # noqa: ANN401 - any JSON value.
    """Parses a text as JSON if it is JSON, so that "1" becomes a number."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def explain_unreadable(fault: str) -> str:
    """Says how to write a setting of named values that pydantic-settings could not read.

    >>> explain_unreadable('error parsing value for field "engine_args" from source "x"')
    'engine_args: write NAME=VALUE, or a JSON object in the environment variable'
    """
    found = re.search(r'encountered for (\w+)|for field "(\w+)"', fault)
    if found is None:
        return fault
    name = found[1] or found[2]
    return f"{name}: write NAME=VALUE, or a JSON object in the environment variable"


def read_schema_limits(values: dict[str, Any]) -> dict[str, int | float]:
    """Reads limits on schemas by their names in `SchemaLimits`, with "-" or "_".

    Raises:
        ValueError: a name is unknown, or a value is not a positive number of the right kind.
    """
    return dict(_read_limit(name, value) for name, value in values.items())


def _read_limit(name: str, value: Any) -> tuple[str, int | float]:  # noqa: ANN401 - any JSON value.
    name = name.replace("-", "_")
    if name not in _SCHEMA_LIMITS:
        raise ValueError(
            f"unknown limit {name!r}; known are {', '.join(_SCHEMA_LIMITS)} "
            "(schema_bytes is --max-schema-bytes)"
        )
    number = json_or_text(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{name} must be a number, not {number!r}")  # noqa: TRY004 - a setting.
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{name} must be above 0, not {number!r}")
    if isinstance(_SCHEMA_LIMITS[name], float):
        return name, float(number)
    if number != int(number):
        raise ValueError(f"{name} must be a whole number, not {number!r}")
    return name, int(number)
