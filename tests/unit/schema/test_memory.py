"""The schema cache counts the memory that its entries really take."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Prepares schemas in a process of its own, checks values with each, and prints the growth of the
# process's memory beside what the cache counted. All numbers are bytes.
MEASURE = """
import asyncio, gc, json, random, sys
from genir_server.schema.isolation.heap import allocated_bytes
from genir_server.schema.preparer import Preparer

KINDS = {
    "unicode": lambda n: {"type": "string", "pattern": "^\\\\p{L}{1,%d}x%d" % (2 + n % 21, n)},
    "automata": lambda n: {"type": "string", "pattern": "a.{0,%d}b.{0,60}c%d" % (20 + n % 40, n)},
    "plain": lambda n: {"type": "string", "pattern": "^[a-z]{1,9}-%d$" % n},
    "enums": lambda n: {"enum": ["v%d-%d" % (n, each) for each in range(300)]},
    "properties": lambda n: {"properties": {
        "p%d-%d" % (n, each): {"type": "string", "maxLength": each} for each in range(100)}},
}

async def main(kind, count, max_bytes):
    random.seed(1)
    preparer = Preparer(None, cache_bytes=max_bytes)
    await preparer.start()
    texts = ["".join(random.choice("abc-1éλ語") for _ in range(400)) for _ in range(6)]
    await preparer.prepare("{}")
    gc.collect()
    before = allocated_bytes()
    counted = preparer.statistics().size_bytes
    for number in range(count):
        schema = await preparer.prepare(json.dumps(KINDS[kind](number)))
        for text in texts:
            if schema.verifier is not None:
                schema.verifier.is_valid(text)
    gc.collect()
    statistics = preparer.statistics()
    grown = allocated_bytes() - before
    print(json.dumps([grown, statistics.size_bytes - counted, statistics.evictions]))
    await preparer.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


def measure(kind: str, count: int, max_bytes: int) -> tuple[int, int, int]:
    arguments = [sys.executable, "-c", MEASURE, kind, str(count), str(max_bytes)]
    output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    grown, counted, evictions = json.loads(output)
    return grown, counted, evictions


@pytest.mark.parametrize("kind", ["unicode", "automata", "plain", "enums", "properties"])
def test_entries_take_no_more_memory_than_the_cache_counts(kind: str) -> None:
    grown, counted, _ = measure(kind, 60, 256 << 20)
    assert 0 < grown <= counted * 1.1


def test_memory_stays_within_the_bound_of_the_cache() -> None:
    max_bytes = 8 << 20
    grown, counted, evictions = measure("automata", 60, max_bytes)
    assert evictions > 0
    assert counted <= max_bytes
    # Some megabytes go to what is not a cache, such as buffers of the workers' replies.
    assert grown <= max_bytes * 1.1 + (2 << 20)
