"""The workers that check values keep no more compiled schemas than their cache may hold."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CACHED_BYTES = 6 << 20
# Lets a worker's side remember schemas in a process of its own, and prints by how many bytes
# the memory in use has grown.
MEASURE = """
import gc, json, sys
from genir_server.core.verification_worker import Check, load_handler
from genir_server.schema.isolation.heap import allocated_bytes
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.types import VerifierSource

def descriptions(n):
    return {"description": "\\u8a9e%d" % n * 20_000, "type": "string"}, ()

def astral(n):
    return {"description": "\\U0001f600%d" % n * 20_000, "type": "string"}, ()

def patterns(n):
    text = "^[a-c]-%d$" % n
    return {"pattern": text}, ((text, "\\u8a9e" * 50_000 + str(n)),)

def automata(n):
    return {"pattern": "a.{0,%d}b.{0,60}c%d" % (20 + n % 40, n)}, ()

def enums(n):
    return {"enum": ["v%d-%d" % (n, each) for each in range(300)]}, ()

def properties(n):
    return {"properties": {
        "p%d-%d" % (n, each): {"type": "string", "maxLength": each} for each in range(100)}}, ()

def body(n):
    schema, pairs = globals()[sys.argv[1]](n)
    source = VerifierSource(json.dumps(schema, ensure_ascii=False), Draft.DRAFT202012, pairs)
    return Check("1", None, source, 1).encode()

handler = load_handler({"cached_bytes": int(sys.argv[3])})
handler.remember(Check("1", None, VerifierSource("{}", Draft.DRAFT202012), 1).encode())
gc.collect()
before = allocated_bytes()
for number in range(int(sys.argv[2])):
    handler.remember(body(number))
gc.collect()
print(allocated_bytes() - before)
"""


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("descriptions", 100),
        ("astral", 100),
        ("patterns", 150),
        ("automata", 120),
        ("enums", 120),
        ("properties", 80),
    ],
)
def test_compiled_schemas_stay_within_the_bound(kind: str, count: int) -> None:
    arguments = [sys.executable, "-c", MEASURE, kind, str(count), str(CACHED_BYTES)]
    output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    grown = json.loads(output)
    # The cache is full, or the test says nothing.
    assert grown > CACHED_BYTES / 3
    assert grown <= CACHED_BYTES * 1.1 + (1 << 20)
