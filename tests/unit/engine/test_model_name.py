"""Callers see a name of the model, and never where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genir_server.engine.config import EMBEDDED_MODEL_NAME, EngineConfig
from genir_server.engine.model_name import is_folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("/srv/models/qwen-7b", "qwen-7b"),
        ("/srv/models/qwen-7b/", "qwen-7b"),
        ("/srv/models/qwen-7b/.", "qwen-7b"),
        ("./models/qwen-7b", "qwen-7b"),
        ("../qwen-7b", "qwen-7b"),
        ("~/models/qwen-7b", "qwen-7b"),
        ("a/b/qwen-7b", "qwen-7b"),
        ("/", "model"),
        ("/weights/qwen-7b.Q4_K_M.gguf", "qwen-7b.Q4_K_M.gguf"),
        ("s3://bucket/models/qwen-7b/", "qwen-7b"),
        ("gs://bucket/qwen-7b", "qwen-7b"),
        ("az://account/container/qwen-7b?sig=secret", "qwen-7b"),
        ("s3:///", "model"),
        ("gpt2", "gpt2"),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("unsloth/Qwen3-0.6B-GGUF:Q4_K_M", "unsloth/Qwen3-0.6B-GGUF:Q4_K_M"),
        ("/hub/models--Qwen--Qwen3-0.6B/snapshots/0f1e2d", "Qwen/Qwen3-0.6B"),
        ("/hub/models--a--b--c/snapshots/0f1e2d/", "a/b--c"),
        ("/hub/other/snapshots/0f1e2d", "0f1e2d"),
    ],
)
def test_name_is_derived_from_the_model(model: str, name: str) -> None:
    assert EngineConfig(model=model).model_name == name


def test_folder_with_the_form_of_a_name_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert EngineConfig(model="owner/name").model_name == "name"
    assert EngineConfig(model=".").model_name == tmp_path.name


def test_served_model_name_wins() -> None:
    assert EngineConfig(model="/srv/x", served_model_name="a/b").model_name == "a/b"
    assert EngineConfig(served_model_name="mine").model_name == "mine"


def test_embedded_model_has_its_own_name() -> None:
    assert EngineConfig().model_name == EMBEDDED_MODEL_NAME


@pytest.mark.parametrize("model", ["s3://bucket/a/b/c", "gs://b/c", "az://b/c/d", "gpt2", "a/b"])
def test_names_are_no_folders(model: str) -> None:
    assert not is_folder(model)


@pytest.mark.parametrize("model", ["/no/such", "./no", "~/no", "a/b/c"])
def test_paths_are_folders_though_they_are_missing(model: str) -> None:
    assert is_folder(model)
