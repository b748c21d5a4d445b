from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genir_server.schema.preparer import Preparer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(scope="session")
async def preparer() -> AsyncIterator[Preparer]:
    """Two warm workers with a tokenizer of single bytes."""
    subject = Preparer(None, workers=2)
    await subject.start()
    yield subject
    await subject.close()
