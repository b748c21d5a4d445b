"""Values that the server verified are accepted by the Python type that was the schema.

The tiny model writes noise, so that every text that the schema allows may come. Three calls for
each type; `tests/soak/test_python_types.py` makes more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from genir import IRClient
from tests.support.type_outcomes import outcomes, refusals
from tests.support.typical_types import TYPES

if TYPE_CHECKING:
    from collections import Counter

    from bench.support.server_process import ServerProcess

CALLS = 3


@pytest.fixture(scope="module")
def found(server: ServerProcess) -> dict[str, Counter[str]]:
    return outcomes(server.target, CALLS)


@pytest.mark.parametrize("name", TYPES)
def test_type_accepts_every_value(name: str, found: dict[str, Counter[str]]) -> None:
    assert refusals(found[name]) == []
    # The noise of the tiny model may be cut off, but a schema that no value fits would always fail.
    assert found[name]["OK"] > 0, found[name]


def test_values_are_of_the_type(server: ServerProcess) -> None:
    with IRClient(server.target) as client:
        schema: Any = TYPES["list of models"]
        value = client.generate("hi", schema=schema, seed=1, max_tokens=900).value
    assert all(type(each).__name__ == "Person" for each in value)
