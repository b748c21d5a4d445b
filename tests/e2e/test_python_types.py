"""Values that the server verified are accepted by the Python type that was the schema.

The tiny model writes noise, so that every text that the schema allows may come.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from genir import GenirError, IRClient, ModelRefusedError
from tests.support.typical_types import TYPES

if TYPE_CHECKING:
    from bench.support.server_process import ServerProcess

CALLS = 10
CALLERS = 24


@pytest.fixture(scope="module")
def outcomes(server: ServerProcess) -> dict[str, Counter[str]]:
    """How the calls with each type ended, by reason; OK for a value."""
    found: dict[str, Counter[str]] = {name: Counter() for name in TYPES}

    def call(name: str, seed: int) -> tuple[str, str]:
        try:
            client.generate("hi", schema=TYPES[name], seed=seed, temperature=1, max_tokens=900)
        except ModelRefusedError as error:
            return name, f"{error.reason}: {error.raw_output}: {error.__cause__}"
        except GenirError as error:
            return name, str(error.reason)
        return name, "OK"

    with IRClient(server.target) as client, ThreadPoolExecutor(CALLERS) as threads:
        names = [name for name in TYPES for _ in range(CALLS)]
        seeds = [seed for _ in TYPES for seed in range(CALLS)]
        for name, outcome in threads.map(call, names, seeds):
            found[name][outcome] += 1
    return found


@pytest.mark.parametrize("name", TYPES)
def test_type_accepts_every_value(name: str, outcomes: dict[str, Counter[str]]) -> None:
    refused = [outcome for outcome in outcomes[name] if outcome.startswith("MODEL_REFUSED")]
    assert refused == []
    # The noise of the tiny model may be cut off, but a schema that no value fits would always fail.
    assert outcomes[name]["OK"] >= CALLS / 2, outcomes[name]


def test_values_are_of_the_type(server: ServerProcess) -> None:
    with IRClient(server.target) as client:
        schema: Any = TYPES["list of models"]
        value = client.generate("hi", schema=schema, seed=1, max_tokens=900).value
    assert all(type(each).__name__ == "Person" for each in value)
