"""What the user chooses for a report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The model, how the engine runs it, and how long the report may take.

    Attributes:
        model: folder or Hub name; None means the embedded model.
        max_model_len: context in tokens.
        engine_args: further engine arguments, each ``name=value``.
        scope: size of the comparison of front ends.
        prompts: number of prompts for each backend.
        tests: files or folders with tests.

    """

    model: str | None
    max_model_len: int
    engine_args: tuple[str, ...]
    scope: str
    prompts: int
    tests: tuple[str, ...]

    def server_arguments(self) -> list[str]:
        """Arguments of ``genir serve``, which `bench.performance` takes as well."""
        arguments = ["--max-model-len", str(self.max_model_len)]
        if self.model is not None:
            arguments += ["--model", self.model]
        for pair in self.engine_args:
            arguments += ["--engine-args", pair]
        return arguments
