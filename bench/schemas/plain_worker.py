"""The process in which vLLM's own structured output runs.

Its arguments are the backend, a model folder, and the CPU seconds for one schema. It exchanges
frames over standard input and output: four bytes of length, big-endian, and JSON.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from dataclasses import asdict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from bench.schemas.check import MAX_INSTANCE_BYTES, MAX_INSTANCES, Outcomes
from bench.schemas.guided import Acceptor, GuidanceAcceptor, GuidedWriter
from bench.schemas.order import as_written
from bench.schemas.plain import INSTANCE_SECONDS, MEMORY_BYTES
from genir_server.schema.isolation.framing import read_frame, write_frame

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_MESSAGE_CHARACTERS = 300


def main() -> None:
    """Answers frames until standard input closes."""
    backend, tokenizer_folder, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    # Output of libraries must not mix with the frames.
    os.dup2(2, 1)
    subject = _Backend(backend, tokenizer_folder)
    max_bytes = MEMORY_BYTES + _address_space()
    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    write_frame(replies, b"{}")
    while (frame := read_frame(requests)) is not None:
        request = json.loads(frame)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        start = time.perf_counter()
        result: dict[str, object]
        try:
            acceptor = subject.compile(request["schema"])
        except Exception as fault:  # noqa: BLE001 - anything that vLLM raises reaches its caller
            result = {"outcome": "refused", "message": str(fault)[:_MAX_MESSAGE_CHARACTERS]}
            acceptor = None
        else:
            result = {"outcome": "accepted"}
        result["compile_seconds"] = time.perf_counter() - start
        signal.setitimer(signal.ITIMER_PROF, 0)
        result["resident_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        write_frame(replies, json.dumps(result).encode())
        if acceptor is not None:
            signal.setitimer(signal.ITIMER_PROF, INSTANCE_SECONDS)
            outcomes = _check(acceptor, request["schema"], request["instances"])
            signal.setitimer(signal.ITIMER_PROF, 0)
            write_frame(replies, json.dumps(asdict(outcomes)).encode())


class _Backend:
    """A backend of vLLM with default settings, created as vLLM creates it."""

    def __init__(self, name: str, tokenizer_folder: str) -> None:
        from transformers import AutoTokenizer
        from vllm.config.structured_outputs import StructuredOutputsConfig
        from vllm.sampling_params import SamplingParams, StructuredOutputsParams, check_json_nesting
        from vllm.v1.structured_output.backend_guidance import (
            GuidanceBackend,
            validate_guidance_grammar,
        )
        from vllm.v1.structured_output.backend_types import StructuredOutputOptions
        from vllm.v1.structured_output.backend_xgrammar import (
            XgrammarBackend,
            validate_xgrammar_grammar,
        )

        from genir_server.schema.grammar.guidance import load_tokenizer

        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
        config = SimpleNamespace(
            structured_outputs_config=StructuredOutputsConfig(backend=name),
            model_config=None,
            speculative_config=None,
        )
        made = {"guidance": GuidanceBackend, "xgrammar": XgrammarBackend}[name](
            config, tokenizer=tokenizer, vocab_size=len(tokenizer)
        )
        self._name = name
        self._backend: Any = made
        self._mask = made.allocate_token_bitmask(1)
        self._bytes = load_tokenizer(None)

        def validate(schema: str) -> None:
            params = SamplingParams(structured_outputs=StructuredOutputsParams(json=schema))
            check_json_nesting(schema)
            if name == "guidance":
                validate_guidance_grammar(params, made.ll_tokenizer)
            else:
                validate_xgrammar_grammar(params)

        self._validate: Callable[[str], None] = validate
        self._json = StructuredOutputOptions.JSON

    def compile(self, schema: str) -> Acceptor:
        """Does what vLLM does with a schema before the first token, the first mask included."""
        import llguidance

        self._validate(schema)
        grammar = self._backend.compile_grammar(self._json, schema)
        grammar.fill_bitmask(self._mask, 0)
        if self._name == "xgrammar":
            return _XgrammarAcceptor(grammar.matcher)
        if grammar.ll_matcher.is_error():
            raise ValueError(grammar.ll_matcher.get_error())
        # The same grammar over single bytes, so that a value need not be tokenized.
        same = llguidance.LLMatcher(self._bytes, self._backend.serialized_grammar, log_level=0)
        return GuidanceAcceptor(same)


class _XgrammarAcceptor:
    def __init__(self, matcher: Any) -> None:  # noqa: ANN401 - xgrammar has no stubs
        self._matcher = matcher

    def reset(self) -> None:
        self._matcher.reset()

    def take(self, text: bytes) -> int:
        return 1 if self._matcher.accept_string(text) else -1

    def undo(self, written: int) -> None:
        self._matcher.rollback(written)

    def complete(self) -> bool:
        return bool(self._matcher.is_completed())


def _check(acceptor: Acceptor, schema: str, instances: list[tuple[object, bool]]) -> Outcomes:
    outcomes = Outcomes()
    for index, (value, valid) in enumerate(instances[:MAX_INSTANCES]):
        outcomes.valid += valid
        outcomes.invalid += not valid
        if len(json.dumps(value)) > MAX_INSTANCE_BYTES:
            outcomes.untested.append(index)
            continue
        writer = GuidedWriter(acceptor)
        subject = value if valid else as_written(value)
        accepted = writer.accepts(_likely_order(subject, schema))
        if writer.gave_up:
            outcomes.untested.append(index)
        elif valid and not accepted:
            outcomes.valid_lost.append((index, "engine"))
        elif accepted and not valid:
            outcomes.invalid_passed.append(index)
    return outcomes


def _likely_order(value: object, schema: str) -> object:
    """The value with its keys in the order in which the schema first names them."""
    if isinstance(value, list):
        return [_likely_order(item, schema) for item in value]
    if not isinstance(value, dict):
        return value

    def place(name: str) -> int:
        found = schema.find(f"{json.dumps(name)}: ")
        return len(schema) if found < 0 else found

    return {name: _likely_order(value[name], schema) for name in sorted(value, key=place)}


def _address_space() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - a file of the kernel
        return int(statm.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()
