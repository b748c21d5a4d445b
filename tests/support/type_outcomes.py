"""How calls end whose schema is a typical Python type. The model should write noise."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from genir import GenirError, IRClient, ModelRefusedError
from tests.support.typical_types import TYPES

_CALLERS = 24


def outcomes(target: str, calls: int) -> dict[str, Counter[str]]:
    """How the calls with each type ended, by reason; OK for a value.

    Args:
        target: the server's address.
        calls: how many for each type, with seeds from 0 on.
    """
    found: dict[str, Counter[str]] = {name: Counter() for name in TYPES}
    with IRClient(target) as client, ThreadPoolExecutor(_CALLERS) as threads:

        def call(name: str, seed: int) -> tuple[str, str]:
            try:
                client.generate("hi", schema=TYPES[name], seed=seed, temperature=1, max_tokens=900)
            except ModelRefusedError as error:
                return name, f"{error.reason}: {error.raw_output}: {error.__cause__}"
            except GenirError as error:
                return name, str(error.reason)
            return name, "OK"

        names = [name for name in TYPES for _ in range(calls)]
        seeds = [seed for _ in TYPES for seed in range(calls)]
        for name, outcome in threads.map(call, names, seeds):
            found[name][outcome] += 1
    return found


def refusals(found: Counter[str]) -> list[str]:
    """The outcomes in which a type refused a value that the server had verified."""
    return [outcome for outcome in found if outcome.startswith("MODEL_REFUSED")]
