"""A start that fails in any way ends with one error, which has the cause in its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from genir_server.engine.protocol import EngineStartError
from genir_server.engine.vllm.start_fault import one_start_error


def fail(error: Exception, written: str | None) -> EngineStartError:
    """What becomes of an error, beside the cause that a process wrote."""

    def start() -> None:
        with one_start_error("tiny") as path:
            paths.append(Path(path))
            if written is None:
                paths[0].unlink()
            else:
                paths[0].write_text(written)
            raise error

    paths: list[Path] = []
    with pytest.raises(EngineStartError) as raised:
        start()
    assert not paths[0].exists()
    return raised.value


def test_cause_that_a_process_wrote_comes_before_the_error() -> None:
    error = RuntimeError("Engine core initialization failed.")
    made = fail(error, "too little memory\n")
    assert str(made) == "vLLM could not start tiny: too little memory"
    assert made.__cause__ is error


@pytest.mark.parametrize("written", ["", None])
def test_without_a_cause_the_error_gives_its_first_line(written: str | None) -> None:
    made = fail(OSError("no port is free\nsecond line"), written)
    assert str(made) == "vLLM could not start tiny: no port is free"


def test_error_for_the_operator_stays_as_it_is() -> None:
    error = EngineStartError("install it")
    assert fail(error, "a cause") is error


def test_nothing_is_left_of_a_start_that_succeeds() -> None:
    with one_start_error("tiny") as path:
        assert Path(path).read_text() == ""
    assert not Path(path).exists()
