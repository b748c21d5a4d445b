"""Marks every test by its folder.

| folder | marker | may use |
|---|---|---|
| tests/unit | `unit` | no engine, no server process |
| tests/engine | `engine` | vLLM in this process |
| tests/e2e | `e2e` | server processes |
| tests/soak | `soak` | server processes, for many minutes; deselected by default |
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A slow machine must not fail a property test: one example has no time limit of its own.
settings.register_profile("genir", deadline=None)
settings.load_profile("genir")

TIERS = ("unit", "engine", "e2e", "soak")
_TESTS = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Adds each test's marker, before pytest selects by markers."""
    for item in items:
        item.add_marker(_tier(item))


def _tier(item: pytest.Item) -> str:
    """The test's folder below tests/."""
    tier = item.path.relative_to(_TESTS).parts[0]
    if tier not in TIERS:
        raise pytest.UsageError(f"{item.path} is in none of the folders {', '.join(TIERS)}")
    return tier
