"""The built-in IR schema, which applies to requests without a schema."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def builtin_ir_schema_text() -> str:
    """The exact text of the built-in IR schema; its digest is of this text."""
    return files(__name__).joinpath("ir-v1.schema.json").read_bytes().decode()


def builtin_ir_schema() -> dict[str, Any]:
    """The built-in IR schema, parsed. Each call returns a new value that the caller may change."""
    schema: dict[str, Any] = json.loads(builtin_ir_schema_text())
    return schema
