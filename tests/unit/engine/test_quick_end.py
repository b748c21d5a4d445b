"""A process of the engine ends without searching everything it has loaded for garbage."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from genir_server.engine.patches.quick_end import without_search

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def thawed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts the collector back as it was."""
    thaw = gc.unfreeze
    monkeypatch.setattr(gc, "unfreeze", thaw)
    yield
    thaw()


class Ended:
    """Ends as an engine core does: thaws everything and searches it."""

    searched = -1

    def shutdown(self) -> None:
        gc.unfreeze()
        self.searched = len(gc.get_objects())
        gc.collect()


def test_thawed_objects_are_searched() -> None:
    core = Ended()
    core.shutdown()
    assert core.searched > 1_000


def test_ending_process_has_nothing_to_search() -> None:
    core = Ended()
    without_search(Ended.shutdown)(core)
    assert 0 <= core.searched < 100
