"""One real engine on the embedded model, shared by all tests that do not change it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest

from genir_server.engine.config import EngineConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from genir_server.engine.vllm.engine import VllmEngine


@pytest.fixture(scope="session")
async def engine() -> AsyncIterator[VllmEngine]:
    with warnings.catch_warnings():
        # Importing torch and vLLM raises warnings that only they can fix.
        warnings.simplefilter("ignore")
        from genir_server.engine.vllm.start import start_vllm_engine

        engine = await start_vllm_engine(EngineConfig())
    yield engine
    await engine.shutdown()
