"""A server does not become ready with another structured-output backend than configured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from genir_server.engine.protocol import EngineActivity, EngineStartError, RankActivity
from genir_server.supervision.engine_launcher import check_backend
from tests.support.scripted_engine import ScriptedEngine


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
