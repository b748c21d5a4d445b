"""Types accept random values that the engine's grammar allows for their schemas.

Like tests/e2e/test_python_types.py, with a random writer in the place of a server: thousands of
times faster, and without the narrowing that a model's likes amount to.
"""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

import jsonschema_rs
import pytest
import rfc8785

from genir._schema import schema_argument
from genir_server.schema.grammar.guidance import byte_tokenizer, compile_matcher
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pipeline import Pipeline
from tests.support.typical_types import TYPES

VALUES = 6
MAX_BYTES = 3_000
CLOSE_FROM = 150
"""From so many bytes on, half of the choices close a text or a list where that is allowed."""


@cache
def pipeline() -> Pipeline:
    return Pipeline(byte_tokenizer(), SchemaLimits(), NarrowingBounds())


def written(engine_schema: str, choice: random.Random) -> str | None:
    """A random text of the grammar; None when it becomes too long."""
    matcher = compile_matcher(byte_tokenizer(), engine_schema)
    text = bytearray()
    while len(text) < MAX_BYTES:
        mask = matcher.compute_bitmask()
        allowed = [byte for byte in range(256) if mask[byte // 8] >> byte % 8 & 1]
        if matcher.is_accepting() and (not allowed or choice.random() < 0.3):
            return text.decode()
        plain = [byte for byte in allowed if 32 <= byte < 127]
        choices = plain if plain and choice.random() < 0.95 else allowed
        closing = [byte for byte in choices if byte in b'"}]']
        if closing and len(text) > CLOSE_FROM and choice.random() < 0.5:
            choices = closing
        byte = choice.choice(choices)
        matcher.consume_token(byte)
        text.append(byte)
    return None


@pytest.mark.parametrize("name", TYPES)
def test_type_accepts_what_the_grammar_allows(name: str) -> None:
    argument = schema_argument(TYPES[name], None)
    assert argument.json_schema is not None
    verifier = jsonschema_rs.validator_for(json.loads(argument.json_schema), validate_formats=True)
    engine_schema = pipeline().analyse(argument.json_schema).engine_schema
    read = 0
    for seed in range(VALUES):
        text = written(engine_schema, random.Random(seed))  # noqa: S311 - no secret
        if text is None:
            continue
        normal = rfc8785.dumps(json.loads(text)).decode()
        value: Any = json.loads(normal)
        if verifier.is_valid(value):
            argument.read(value, normal)
            read += 1
    assert read >= VALUES / 2
