"""genir with a replay engine: ``python -m bench.performance.replay.server``.

Everything but the engine is what ``genir serve`` runs; it takes the same arguments. A bench tool.
``REPLAY_TOKENS_PER_SECOND`` is the pace of one stream. Unset: tokens come as fast as they are
requested.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from bench.performance.replay.engine import ReplayEngine
from bench.performance.replay.recording import load
from genir_server.app import run

if TYPE_CHECKING:
    from genir_server.engine.config import EngineConfig
    from genir_server.supervision.engine_launcher import Planned

PACE_VARIABLE = "REPLAY_TOKENS_PER_SECOND"


async def start_replay(_: EngineConfig, planned: Planned) -> ReplayEngine:
    """Creates the replay engine."""
    await planned(None)
    pace = os.environ.get(PACE_VARIABLE)
    return ReplayEngine(load(), float(pace) if pace else None)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], start_replay))
