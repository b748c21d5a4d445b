from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genir_server.schema.grammar.min_tokens import Vocabulary, min_tokens
from genir_server.schema.grammar.oracle import GrammarOracle
from genir_server.schema.read.document import Document
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.relax import relax
from genir_server.schema.verify.verifier import SchemaVerifier
from tests.support import strategies

ORACLE = GrammarOracle()
BYTES = [bytes([byte]) for byte in range(256)]
pieces = st.lists(st.sampled_from(['"', "a", "b", ":", "{", "}", ",", "1", "ab"]), max_size=4)
tokens = st.lists(pieces.map(lambda parts: "".join(parts).encode()), max_size=12)


def fewest(text: bytes, vocabulary: list[bytes]) -> int:
    """The fewest tokens that spell a text, by dynamic programming over all tokens."""
    best = [0] + [len(text) + 1] * len(text)
    for end in range(1, len(text) + 1):
        for token in vocabulary:
            if token and text[:end].endswith(token):
                best[end] = min(best[end], best[end - len(token)] + 1)
    return best[len(text)]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.schemas, st.lists(strategies.values, max_size=6), tokens)
def test_bound_is_never_too_high(
    schema: dict[str, object] | bool, values: list[object], extra: list[bytes]
) -> None:
    vocabulary = [*BYTES, *extra]
    result = relax(Document(schema, Draft.DRAFT202012), ORACLE)
    bound = min_tokens(result.schema, Vocabulary(vocabulary))
    assert bound >= 1
    verifier = SchemaVerifier(schema, Draft.DRAFT202012)
    for value in values:
        if verifier.is_valid(value):
            text = json.dumps(value, separators=(",", ":")).encode()
            assert bound <= fewest(text, vocabulary)


def test_required_names_and_constants_count() -> None:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"alpha": {"const": "beta"}, "gamma": {"type": "string"}},
        "required": ["alpha", "gamma"],
    }
    bound = min_tokens(schema, Vocabulary(BYTES))
    assert bound == len('"alpha":') - 1 + len('"beta"') - 1 + len('"gamma":') - 1 + 1
    whole = Vocabulary([*BYTES, b'{"alpha":"beta","gamma":"'])
    assert min_tokens(schema, whole) == 1


def test_recursive_definition_has_a_bound() -> None:
    schema: dict[str, object] = {
        "$ref": "#/$defs/n",
        "$defs": {
            "n": {
                "type": "object",
                "properties": {"next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}},
                "required": ["next"],
            }
        },
    }
    assert min_tokens(schema, Vocabulary(BYTES)) == len('"next":')
