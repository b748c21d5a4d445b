"""What a real server shows of a call: its metrics beside vLLM's own, and one line in its log."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from genir import InvalidRequestError
from tests.e2e.calling import SMALL_SCHEMA
from tests.test_operations_docs import ALWAYS, documented_log_fields

if TYPE_CHECKING:
    from genir import IRClient
    from tests.e2e.server_process import ServerProcess

LABELS = {"model": "smollm2-135m-instruct", "backend": "guidance"}


class Scrape:
    """What the metrics port says at one moment."""

    def __init__(self, server: ServerProcess) -> None:
        port = server.log_lines("serving metrics")[0]["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float:
        """Sum of the samples of that name that have those labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def test_a_call_is_counted_timed_and_logged(server: ServerProcess, client: IRClient) -> None:
    before = Scrape(server)
    result: Any = client.generate("Name a thing.", schema=SMALL_SCHEMA, request_id="observed-1")
    with pytest.raises(InvalidRequestError):
        client.generate("Name a thing.", schema={"type": "wish"}, request_id="observed-2")
    after = Scrape(server)

    def more(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    assert more("genir_generations_total", **LABELS, outcome="valid") == 1
    assert more("genir_generations_total", **LABELS, outcome="schema_invalid") == 1
    assert more("genir_completion_tokens_total", **LABELS) == result.usage.completion_tokens
    for timed in ("time_to_first_token", "time_per_output_token", "queue", "generation"):
        assert more(f"genir_{timed}_seconds_count", **LABELS) == 1, timed
    assert more("genir_schema_lookups_total") == 2
    assert after.value("genir_schema_compile_seconds_count") >= 1
    assert after.value("genir_phase", phase="ready") == 1
    assert after.value("genir_engine_last_step_timestamp_seconds") > before.value(
        "genir_engine_last_step_timestamp_seconds"
    )
    # vLLM counts the same tokens in the same answer.
    assert more("vllm:generation_tokens_total") >= result.usage.completion_tokens
    assert after.value("process_resident_memory_bytes") > 0

    lines = {line["request_id"]: line for line in server.log_lines("call")}
    for line in lines.values():
        assert ALWAYS <= set(line) <= set(documented_log_fields())
    assert lines["observed-1"]["code"] == "OK"
    assert lines["observed-1"]["completion_tokens"] == result.usage.completion_tokens
    assert lines["observed-2"]["reason"] == "SCHEMA_INVALID"
    assert "Name a thing" not in server.log
