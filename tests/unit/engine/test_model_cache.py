"""A model folder is built once, completely or not at all, however many processes want it."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from genir_server.engine.model_cache import cache_folder, make_once


def _fill(folder: Path) -> None:
    (folder / "weights").write_text("w")


def _count_and_fill(folder: Path) -> None:
    with (folder.parent / "builds").open("a") as builds:
        builds.write("x")
    _fill(folder)


def _make(folder: Path) -> None:
    make_once(folder, _count_and_fill)


def test_built_folder_is_reused(tmp_path: Path) -> None:
    folder = make_once(tmp_path / "cache" / "model-1", _fill)
    assert (folder / "weights").read_text() == "w"
    assert make_once(folder, lambda _: pytest.fail("built twice")) == folder


def test_built_folder_is_readable_by_every_user(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        _fill(folder)
        (folder / "weights").chmod(0o600)
        (folder / "sub").mkdir(mode=0o700)

    folder = make_once(tmp_path / "model-1", build)
    assert (folder / "weights").stat().st_mode & 0o777 == 0o644
    assert {path.stat().st_mode & 0o777 for path in (folder, folder / "sub")} == {0o755}


def test_failed_build_leaves_no_folder(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        _fill(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        make_once(tmp_path / "model-1", fail)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    assert make_once(tmp_path / "model-1", _fill).is_dir()


def test_leftover_of_a_killed_build_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".model-1.making-abc").mkdir()
    make_once(tmp_path / "model-1", _fill)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["model-1"]


def test_concurrent_processes_build_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_make, args=(tmp_path / "model-1",)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "builds").read_text() == "x"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"GENIR_CACHE_DIR": "/own", "XDG_CACHE_HOME": "/xdg"}, "/own"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/genir"),
        ({}, str(Path.home() / ".cache" / "genir")),
    ],
)
def test_cache_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name in ("GENIR_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)
