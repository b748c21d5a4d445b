"""`make check-vllm` finds what a version of vLLM lacks, by its sources alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts import check_vllm
from scripts.check_vllm import changed, check
from scripts.vllm_sources import installed

if TYPE_CHECKING:
    from collections.abc import Iterator


def differences(folder: Path) -> list[str]:
    return [f"{row.name} {row.difference}" for row in check(folder) if row.difference]


@pytest.fixture(scope="module")
def other_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed version's sources, as links that a test can replace."""
    folder = tmp_path_factory.mktemp("sources") / "vllm"

    def without_binaries(parent: str, names: list[str]) -> list[str]:
        return [each for each in names if not (each.endswith(".py") or Path(parent, each).is_dir())]

    def link(source: str, target: str) -> None:
        Path(target).symlink_to(source)

    shutil.copytree(installed(), folder, ignore=without_binaries, copy_function=link)
    return folder


@pytest.fixture
def replaced(other_version: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The same with one text of one file replaced: (file, old, new)."""
    name, old, new = request.param
    path = other_version / name
    original = path.resolve()
    text = original.read_text()
    assert old in text, f"{name} has no {old!r}"
    path.unlink()
    path.write_text(text.replace(old, new))
    yield other_version
    path.unlink()
    path.symlink_to(original)


def test_a_module_in_a_text_is_reported(other_version: Path) -> None:
    module = other_version / "v1" / "engine" / "input_processor.py"
    module.rename(module.with_suffix(".moved"))
    try:
        assert "vllm.v1.engine.input_processor vllm.v1.engine.input_processor is missing" in (
            differences(other_version)
        )
    finally:
        module.with_suffix(".moved").rename(module)


def test_installed_version_has_all_that_is_used() -> None:
    assert differences(installed()) == []


def test_table_covers_patches_imports_calls_and_objects() -> None:
    rows = {(row.name, row.used_by) for row in check(installed())}
    backend = "vllm.v1.structured_output.backend_guidance"
    assert rows >= {
        (f"{backend}:validate_guidance_grammar", 'patch "schema check"'),
        (f"{backend}:GuidanceGrammar", "engine/patches/grammar_cache.py"),
        ("vllm.usage.usage_lib:UsageContext.OPENAI_API_SERVER", "engine/vllm/arguments.py"),
        ("vllm.v1.worker.cpu_worker", "engine/cpu_fork/preload.py"),
        ("vllm.v1.engine.async_llm:AsyncLLM.generate", "engine/vllm/engine.py"),
        ("vllm.v1.engine.async_llm:AsyncLLM.shutdown", "OBJECTS"),
    }


@pytest.mark.parametrize(
    ("replaced", "reported"),
    [
        (
            ("v1/structured_output/backend_guidance.py", "validate_guidance_grammar", "validate"),
            "backend_guidance:validate_guidance_grammar is missing",
        ),
        (
            ("v1/structured_output/backend_guidance.py", "stop_token_ids:", "stop_ids:"),
            "takes (self, request_type, grammar_spec, stop_ids), not",
        ),
        (
            ("v1/structured_output/backend_guidance.py", "    ll_matcher: ", "    matcher: "),
            "has no ll_matcher",
        ),
        (("config/speculative.py", '    "custom_class",\n', ""), "does not allow custom_class"),
        (
            ("sampling_params.py", "validate_guidance_grammar", "validate_grammar"),
            "does not call validate_guidance_grammar",
        ),
        (
            ("v1/core/sched/scheduler.py", "self.num_spec_tokens", "self.spec_tokens"),
            "has no num_spec_tokens",
        ),
        (
            ("exceptions.py", "class RetryableRequestError(", "class RetryError("),
            "vllm.exceptions:RetryableRequestError is missing",
        ),
        (
            ("usage/usage_lib.py", "OPENAI_API_SERVER = ", "OPENAI = "),
            "UsageContext.OPENAI_API_SERVER is missing",
        ),
        (
            ("v1/engine/async_llm.py", "        priority: int = 0,\n", ""),
            "vllm.v1.engine.async_llm:AsyncLLM.generate takes no priority",
        ),
        (
            ("v1/engine/async_llm.py", "def abort(", "def cancel("),
            "vllm.v1.engine.async_llm:AsyncLLM.abort ",
        ),
        (("sampling_params.py", "    min_p: float = ", "    least_p: float = "), "takes no min_p"),
        (("platforms/interface.py", "def is_cpu(", "def is_processor("), "is_cpu is missing"),
        # Attributes of objects, by their types.
        (
            ("config/parallel.py", "    enable_expert_parallel: bool", "    experts: bool"),
            "VllmConfig.parallel_config.enable_expert_parallel ",
        ),
        (
            ("config/cache.py", "    kv_cache_size_tokens:", "    kv_tokens:"),
            "AsyncLLM.vllm_config.cache_config.kv_cache_size_tokens ",
        ),
        (
            ("config/scheduler.py", "    policy: ", "    order: "),
            "create_engine_config.scheduler_config.policy ",
        ),
        (
            ("lora/peft_helper.py", "def validate_legal(", "def validate("),
            "PEFTHelper.from_local_dir.validate_legal ",
        ),
        # Names in texts.
        (("envs.py", "VLLM_ENGINE_READY_TIMEOUT_S", "VLLM_TIMEOUT_S"), "READY_TIMEOUT_S is"),
    ],
    indirect=["replaced"],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_another_version_lacks_is_reported(replaced: Path, reported: str) -> None:
    found = differences(replaced)
    assert any(reported in each for each in found), found


@pytest.mark.parametrize(
    "replaced",
    [("v1/structured_output/backend_guidance.py", "grammar_spec,\n", "grammar_spec + '',\n")],
    indirect=True,
)
def test_changed_code_of_a_patched_function_is_listed(replaced: Path) -> None:
    name = "vllm.v1.structured_output.backend_guidance:GuidanceBackend.compile_grammar"
    assert name in changed(replaced, installed())
    assert changed(installed(), installed()) == []


@pytest.mark.parametrize(
    "replaced", [("exceptions.py", "class VLLMClientError(", "class ClientError(")], indirect=True
)
def test_command_ends_with_1_only_where_something_is_missing(
    replaced: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = {"0.32.0": installed(), "0.99.0": replaced}
    monkeypatch.setattr(check_vllm, "downloaded", versions.__getitem__)
    assert check_vllm.main("0.32.0") == 0
    assert "differ" in capsys.readouterr().out
    assert check_vllm.main("0.99.0") == 1
    assert "VLLMClientError is missing" in capsys.readouterr().out
