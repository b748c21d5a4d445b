"""The helper that decides whether a patch fits the installed version, on a fake package."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest

import genir_server
from genir_server.patch_table import fits
from genir_server.patch_table.table import PATCHES, Patch, Touch


@dataclasses.dataclass
class Grammar:
    matcher: object
    size: int
    kept: bool = False


class Scheduler:
    declared: int

    def __init__(self) -> None:
        self.running = []  # type: ignore[var-annotated]

    def schedule(self, output: object) -> object:
        return helper(output)


def helper(output: object) -> object:
    return output


Method = Literal["ngram", "custom", "eagle"]


@pytest.fixture(autouse=True)
def _fake_package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("fake_vllm")
    for each in (Grammar, Scheduler, helper):
        setattr(module, each.__name__, each)
    module.Method = Method  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_vllm", module)
    monkeypatch.setattr(fits, "_outcomes", {})


def patch(*touches: Touch, name: str = "fake") -> Patch:
    return Patch(name, "nowhere.py", touches, "fake 1.0", "to test", "none found", "never", "none")


@pytest.mark.parametrize(
    "touch",
    [
        Touch("fake_vllm:Scheduler", "subclassed", fields=("schedule", "running", "declared")),
        Touch("fake_vllm:Scheduler.schedule", "replaced", parameters=("self", "output")),
        Touch("fake_vllm:Scheduler.schedule", "read", calls=("helper",)),
        Touch("fake_vllm:Grammar", "read", first_fields=("matcher", "size")),
        Touch("fake_vllm:Method", "configuration", values=("custom", "eagle")),
        Touch("sys:orig_argv", "read"),
    ],
)
def test_a_matching_version_fits(touch: Touch) -> None:
    assert fits.misfit(patch(touch)) == ""


@pytest.mark.parametrize(
    ("touch", "reason"),
    [
        (Touch("no_such_package:Name", "read"), "no_such_package:Name: ModuleNotFoundError"),
        (Touch("fake_vllm:Missing", "read"), "fake_vllm:Missing: AttributeError"),
        (
            Touch("fake_vllm:Scheduler", "read", fields=("running", "waiting")),
            "fake_vllm:Scheduler has no waiting",
        ),
        (
            Touch("fake_vllm:Scheduler.schedule", "replaced", parameters=("self",)),
            "fake_vllm:Scheduler.schedule takes (self, output)",
        ),
        (
            Touch("fake_vllm:Scheduler.schedule", "read", calls=("other",)),
            "fake_vllm:Scheduler.schedule does not call other",
        ),
        (
            Touch("fake_vllm:Grammar", "read", first_fields=("size", "matcher")),
            "fake_vllm:Grammar does not begin with the fields size, matcher",
        ),
        (
            Touch("fake_vllm:Method", "configuration", values=("medusa",)),
            "fake_vllm:Method does not allow medusa",
        ),
    ],
)
def test_a_changed_version_is_reported_with_the_name_that_changed(
    touch: Touch, reason: str
) -> None:
    assert fits.misfit(patch(touch)).startswith(reason)


def test_a_broken_entry_is_reported_as_not_fitting(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = patch(Touch("fake_vllm:Missing", "replaced"), name="broken")
    monkeypatch.setitem(PATCHES, "broken", broken)
    assert not fits.applies("broken")
    assert "Missing" in fits.outcomes()["broken"]
    assert "broken (fake_vllm:Missing: AttributeError" in fits.summary(fits.outcomes(), {})


def test_the_summary_names_applied_patches_and_why_others_are_not() -> None:
    outcomes = {"top_p on CPUs": "", "jump-forward": "", "grammar cache": "vllm:X has no y"}
    off = {"fork server": "--no-fork-engine", "jump-forward": "jump-forward is off"}
    line = fits.summary(outcomes, off)
    assert line.startswith("patches applied: top_p on CPUs; not applied: ")
    assert "jump-forward (jump-forward is off)" in line
    assert "grammar cache (vllm:X has no y)" in line
    assert "fork server (--no-fork-engine)" in line
    assert "\n" not in line


def test_every_entry_is_complete() -> None:
    for entry in PATCHES.values():
        assert entry.touches, entry.name
        texts = (entry.tested_with, entry.reason, entry.upstream, entry.remove_when, entry.setting)
        assert all(texts), entry.name
        assert entry.upstream.startswith(("https://github.com/", "none found")), entry.name


def test_every_entry_is_used_by_its_module() -> None:
    """An entry that its module does not ask for guards nothing. Required ones stop the start."""
    package = Path(genir_server.__path__[0])
    unused = [
        entry.name
        for entry in PATCHES.values()
        if not (package / entry.module).is_file()
        or (not entry.required and f'"{entry.name}"' not in (package / entry.module).read_text())
    ]
    assert not unused
