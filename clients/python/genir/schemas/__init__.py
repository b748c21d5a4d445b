"""The schemas that genir brings along.

`ir-v1.schema.json` is the built-in IR schema: the one in force when a request names none.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def builtin_ir_schema_text() -> str:
    """The built-in IR schema: the exact text of its file, which is what its digest is taken of."""
    return files(__name__).joinpath("ir-v1.schema.json").read_bytes().decode()


def builtin_ir_schema() -> dict[str, Any]:
    """The built-in IR schema, parsed. Each call gives a new value that the caller may change."""
    schema: dict[str, Any] = json.loads(builtin_ir_schema_text())
    return schema
