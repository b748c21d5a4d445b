"""Numbers that several parts of a schema describe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genir_server.schema.grammar.guidance import compile_matcher, load_tokenizer
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pipeline import Pipeline

if TYPE_CHECKING:
    from genir_server.schema.analysis import Analysis

TOKENIZER = load_tokenizer(None)
# A busy machine must not decide what the property finds.
LIMITS = SchemaLimits(compile_seconds=60, mask_seconds=60)
NARROWING = Pipeline(TOKENIZER, LIMITS, NarrowingBounds())


def writable(analysis: Analysis, texts: list[str]) -> list[str]:
    """The texts that the engine may write."""
    matcher = compile_matcher(TOKENIZER, analysis.engine_schema)
    assert not matcher.get_error()
    found = []
    for text in texts:
        copy = matcher.deep_copy()
        count = copy.try_consume_tokens(list(text.encode()))
        if count == len(text.encode()) and copy.is_accepting():
            found.append(text)
    return found


@pytest.mark.parametrize(
    ("schema", "texts"),
    [
        ('{"type":"number","not":{"multipleOf":7}}', ["8", "0.5", "-3"]),
        ('{"type":"integer","not":{"anyOf":[{"multipleOf":7},{"multipleOf":5}]}}', ["8", "-3"]),
        ('{"type":"integer","oneOf":[{"multipleOf":7},{"multipleOf":5}]}', ["7", "5", "-5"]),
        ('{"type":"integer","if":{"multipleOf":7},"then":{"minimum":5}}', ["8", "7", "-3"]),
        ('{"type":"array","items":{"type":"integer"},"contains":{"multipleOf":7}}', ["[7,3]"]),
        (
            (
                '{"properties":{"a":{"anyOf":[{"multipleOf":7},{"maximum":3}]},"b":{"type":"integer"},'
                '"c":{"type":"number"}},"type":"object","required":["a","b","c"]}'
            ),
            ['{"a":7,"b":8,"c":0.5}', '{"a":1,"b":-8,"c":-0.5}'],
        ),
        ('{"type":"string","not":{"format":"date-time"}}', ['"abc"']),
    ],
)
def test_what_one_part_leaves_out_binds_no_other_part(schema: str, texts: list[str]) -> None:
    assert writable(NARROWING.analyse(schema), texts) == texts
