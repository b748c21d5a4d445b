"""Schemas of a given size whose output is short whatever the size."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from bench.performance.workload import IR_SCHEMA

_WORDS = """
account amount branch bucket cache cursor device domain entry event factor filter handle index input
invoice key label limit locale margin marker method module object offset option order owner parcel
parser pattern payload phase policy prefix quota range record region result route sample scope
segment session shape signal source stage status stream target tenant ticket token user vendor
version volume window worker zone
"""


_ANSWERED_IN_A_WORD: dict[str, Any] = {
    "type": "object",
    "properties": {"intent": {"enum": ["read", "write", "count", "other"]}},
    "required": ["intent"],
    "additionalProperties": False,
}


def sized_schema(size: int, number: int, *, answered_in_a_word: bool = False) -> str:
    """Text of a schema of about `size` bytes. Each number gives a different one.

    The schema is the small IR with one more property, `details`: null or one of enough small
    objects to reach the size. `answered_in_a_word` has one word instead of the IR, for measurements
    in which only the first text counts.
    """
    chosen = random.Random(number * 1_000_003 + size)  # noqa: S311 - repeatable on purpose.
    schema = copy.deepcopy(_ANSWERED_IN_A_WORD if answered_in_a_word else IR_SCHEMA)
    schema["title"] = f"IR {number}"
    choices: list[dict[str, Any]] = [{"type": "null"}]
    schema["properties"]["details"] = {"anyOf": choices}
    if not answered_in_a_word:
        schema["required"] = [*schema["required"], "details"]
    length = len(_text(schema))
    while length < size:
        choices.append(_choice(chosen, len(choices)))
        length += len(_text(choices[-1])) + 1
    return _text(schema)


def _choice(chosen: random.Random, number: int) -> dict[str, Any]:
    names = chosen.sample(_WORDS.split(), 5)
    kinds: list[dict[str, Any]] = [
        {"type": "integer", "minimum": 0, "maximum": chosen.randint(10, 9999)},
        {"type": "boolean"},
        {"enum": chosen.sample(names, 3)},
        {"type": "string", "maxLength": chosen.randint(8, 16)},
        {"type": "array", "items": {"enum": chosen.sample(names, 2)}, "maxItems": 2},
    ]
    properties: dict[str, Any] = {"kind": {"const": f"{names[0]}_{number}"}}
    properties.update(zip(names, kinds, strict=True))
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, separators=(",", ":"))
