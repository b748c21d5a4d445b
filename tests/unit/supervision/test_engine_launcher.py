"""What the launcher checks of an engine that starts, and what it shows of the load."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import CapturingLogger

from genir_server.admission import Admission, AdmissionLimits
from genir_server.domain.limits import RequestLimits
from genir_server.engine.config import EngineConfig
from genir_server.engine.protocol import (
    EngineActivity,
    EngineStartError,
    LoadProgress,
    LoadStage,
    RankActivity,
)
from genir_server.supervision import engine_launcher
from genir_server.supervision.engine_launcher import (
    EngineLauncher,
    SchemaOptions,
    check_backend,
)
from genir_server.supervision.lifecycle import Lifecycle
from tests.support.scripted_engine import ScriptedEngine

LOAD = [
    *(LoadProgress(LoadStage.WEIGHTS, done, 3, "shards") for done in (1, 2, 3)),
    LoadProgress(LoadStage.COMPILATION, 0, 1, "compilations"),
    LoadProgress(LoadStage.GRAPHS, 1, 9, "graphs"),
]


def engine_using(used: str, asked: str) -> ScriptedEngine:
    engine = ScriptedEngine()
    engine.info = replace(engine.info, configured_backend=asked)
    engine.effective_backend = used
    return engine


@pytest.mark.parametrize(
    ("asked", "used"), [("guidance", "guidance"), ("xgrammar", "xgrammar"), ("auto", "xgrammar")]
)
def test_configured_backend_is_accepted(asked: str, used: str) -> None:
    check_backend(engine_using(used, asked))


@pytest.mark.parametrize(
    ("asked", "used"), [("guidance", "xgrammar"), ("guidance", ""), ("auto", "")]
)
def test_other_or_unknown_backend_is_refused(asked: str, used: str) -> None:
    with pytest.raises(EngineStartError, match=asked):
        check_backend(engine_using(used, asked))


@pytest.mark.parametrize("other", ["xgrammar", ""])
def test_other_or_unknown_backend_of_one_rank_is_refused(other: str) -> None:
    class TwoRanks(ScriptedEngine):
        def activity(self) -> EngineActivity:
            return EngineActivity(
                (RankActivity(backend="guidance"), RankActivity(1, backend=other))
            )

    with pytest.raises(EngineStartError, match="rank 1"):
        check_backend(TwoRanks())


async def test_progress_of_a_load_is_shown_until_the_start_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = CapturingLogger()
    monkeypatch.setattr(engine_launcher, "log", log)
    lifecycle = Lifecycle()
    seen: list[tuple[LoadProgress | None, str]] = []

    async def start(config: EngineConfig, _: object) -> ScriptedEngine:
        assert config.on_progress is not None
        for progress in LOAD:
            config.on_progress(progress)
            seen.append((lifecycle.load_progress, lifecycle.message))
        raise EngineStartError("no such model")

    launcher = EngineLauncher(
        EngineConfig(),
        SchemaOptions(),
        RequestLimits(),
        lifecycle,
        Admission(AdmissionLimits()),
        start_engine=start,
    )
    with pytest.raises(EngineStartError):
        await launcher.start(lifecycle.enter)
    assert seen == [
        (LOAD[0], "The engine loads the weights: 1 of 3 shards."),
        (LOAD[1], "The engine loads the weights: 2 of 3 shards."),
        (LOAD[2], "The engine loads the weights: 3 of 3 shards."),
        (LOAD[3], "The engine compiles the model: 0 of 1 compilations."),
        (LOAD[4], "The engine captures graphs: 1 of 9 graphs."),
    ]
    assert lifecycle.load_progress is None
    # The second one comes too soon after the first for another line.
    lines = [call for call in log.calls if call.args == ("loading",)]
    assert len(lines) == 4


async def test_end_of_the_server_waits_for_a_lost_engine_that_has_not_ended() -> None:
    """The supervisor, which ends it, is cancelled first."""
    may_end = asyncio.Event()

    class SlowEngine(ScriptedEngine):
        async def shutdown(self) -> None:
            await may_end.wait()

    launcher = EngineLauncher(
        EngineConfig(),
        SchemaOptions(),
        RequestLimits(),
        Lifecycle(),
        Admission(AdmissionLimits()),
    )
    launcher.engine = SlowEngine()
    supervisor = asyncio.create_task(launcher.end())
    await asyncio.sleep(0)
    supervisor.cancel()
    await asyncio.wait((supervisor,))
    closing = asyncio.create_task(launcher.close())
    done, _ = await asyncio.wait((closing,), timeout=0.2)
    assert not done
    may_end.set()
    await closing
    assert launcher.engine is None
