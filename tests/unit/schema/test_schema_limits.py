"""Every limit on schemas can be set, and the workers apply it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
from pydantic_settings import CliApp

from genir_server.admission import Admission, AdmissionLimits
from genir_server.app import run
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.limits import RequestLimits
from genir_server.engine.config import EngineConfig
from genir_server.schema.limits import SchemaLimits
from genir_server.settings import ServerSettings
from genir_server.supervision.engine_launcher import EngineLauncher
from genir_server.supervision.lifecycle import Lifecycle

if TYPE_CHECKING:
    from genir_server.schema.preparer import Preparer

NAMES = sorted(asdict(SchemaLimits()).keys() - {"schema_bytes"})


def limits(*arguments: str) -> SchemaLimits:
    return CliApp.run(ServerSettings, cli_args=list(arguments)).schema_options().limits


def test_unset_limits_have_their_defaults() -> None:
    assert limits() == SchemaLimits()
    assert limits("--max-schema-bytes", "99") == SchemaLimits(schema_bytes=99)


@pytest.mark.parametrize("name", NAMES)
def test_each_limit_can_be_set(name: str) -> None:
    found = limits("--schema-limits", f"{name}=7")
    assert found == replace(SchemaLimits(), **{name: 7})
    # Callers would see a count of 7.0 in that form.
    assert type(getattr(found, name)) is type(getattr(SchemaLimits(), name))


def test_limits_are_set_by_pairs_by_json_and_by_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = SchemaLimits(nesting=20, probe_seconds=1.5)
    assert limits("--schema-limits", "nesting=20", "--schema-limits", "probe-seconds=1.5") == (
        expected
    )
    assert limits("--schema-limits", '{"nesting": 20, "probe_seconds": 1.5}') == expected
    monkeypatch.setenv("GENIR_SCHEMA_LIMITS", '{"nesting": 20.0, "probe_seconds": 1.5}')
    assert limits() == expected


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("nestings=5", ["'nestings'", *NAMES, "--max-schema-bytes"]),
        ("schema_bytes=5", ["--max-schema-bytes"]),
        ("nesting=0", ["nesting", "above 0"]),
        ("nesting=-1", ["nesting", "above 0"]),
        ("nesting=2.5", ["nesting", "whole"]),
        ("nesting=deep", ["nesting", "number", "'deep'"]),
        ("nesting=true", ["nesting", "number"]),
        ("probe_seconds=NaN", ["probe_seconds", "above 0"]),
        ("probe_seconds=Infinity", ["probe_seconds", "above 0"]),
    ],
)
def test_invalid_limits_are_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], argument: str, parts: list[str]
) -> None:
    assert run(["--schema-limits", argument]) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("genir serve: schema_limits: ")
    assert stderr.count("\n") == 1
    assert [part for part in parts if part not in stderr] == []


async def test_workers_apply_the_limits_that_are_set() -> None:
    preparer = preparer_of("nodes=3", "key_bytes=2000")
    await preparer.start()
    try:
        assert preparer.limits()["nodes"] == 3
        with pytest.raises(GenirError) as caught:
            await preparer.prepare(json.dumps({"anyOf": [True] * 3}))
        assert caught.value.reason is Reason.SCHEMA_TOO_COMPLEX
        assert caught.value.metadata["limit"] == "nodes"
        assert caught.value.metadata["max"] == "3"
        # The default limit would refuse this one.
        named = json.dumps({"properties": {"k" * 1_500: True}, "additionalProperties": False})
        assert (await preparer.prepare(named)).text == named
    finally:
        await preparer.close()


def preparer_of(*limits: str) -> Preparer:
    """The preparer of a server with these settings; its workers are not started."""
    arguments = [part for limit in limits for part in ("--schema-limits", limit)]
    settings = CliApp.run(ServerSettings, cli_args=arguments)
    launcher = EngineLauncher(
        EngineConfig(),
        settings.schema_options(),
        RequestLimits(),
        Lifecycle(),
        Admission(AdmissionLimits()),
    )
    return launcher.make_preparer(None)
