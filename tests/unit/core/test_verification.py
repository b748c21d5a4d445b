"""Checks of values: which run in the event loop, and what those in worker processes cost others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genir_server.core import verification_worker
from genir_server.core.isolated_verification import IsolatedVerification, VerificationLimits
from genir_server.core.normalize import NotNormalizableError, normal_form
from genir_server.core.verification_worker import Check, decode_verdict, encode_verdict
from genir_server.core.verify import Verdict, Verification, max_check_seconds, max_normalize_seconds
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.types import FinishReason, Violation
from genir_server.schema.isolation.job import Failure, JobResult
from genir_server.schema.isolation.pool import WorkerPool
from genir_server.schema.preparer import Preparer
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.types import VerifierSource
from genir_server.schema.verify.verifier import SchemaVerifier
from tests.support.scripted_engine import LocalVerification, prepared

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


FRACTIONS = [100.5 + index for index in range(9_000)]
# The check of each takes seconds in the event loop: the schema's text, and a value.
SLOW: dict[str, tuple[dict[str, object], object]] = {
    "fractions in an enum": ({"items": {"enum": FRACTIONS}}, FRACTIONS[-100:]),
    "objects in an enum": (
        {"items": {"enum": [{"k": index, "v": [index]} for index in range(1_000)]}},
        [{"k": 999, "v": [999]}] * 500,
    ),
    "names that are missing": (
        {"items": {"required": [f"k{index}" for index in range(2_000)]}},
        [{}] * 250,
    ),
    "constants in an anyOf": (
        {"items": {"anyOf": [{"const": index + 0.5} for index in range(1_500)]}},
        [7] * 50,
    ),
    "a backtracking pattern": (
        {"items": {"pattern": "^(?:(?=a)a|a)+$"}},
        ["a" * 300 + str(index) for index in range(500)],
    ),
}
EXPLOSIVE = json.dumps(
    {
        "$ref": "#/$defs/n",
        "$defs": {
            "n": {
                "anyOf": [
                    {"properties": {"a": {"$ref": "#/$defs/n"}}, "required": [name]}
                    for name in ("y", "z")
                ]
            }
        },
    }
)


@pytest.fixture(scope="module")
async def preparer() -> AsyncIterator[Preparer]:
    subject = Preparer(None)
    await subject.start()
    yield subject
    await subject.close()


@pytest.fixture(scope="module")
async def isolated() -> AsyncIterator[IsolatedVerification]:
    limits = VerificationLimits(quick_seconds=0.05, cpu_seconds=0.2)
    subject = IsolatedVerification(limits)
    await subject.start()
    yield subject
    await subject.close()


def nested(depth: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


async def isolated_verdict(
    isolated: IsolatedVerification, schema: str, value: object, caller: str = ""
) -> Verdict:
    source = VerifierSource(schema, Draft.DRAFT202012)
    return await isolated.verdict(json.dumps(value), FinishReason.STOP, source, caller)


async def longest_iteration(until: asyncio.Task[Verdict]) -> float:
    """The longest iteration of the event loop, in processor time of its thread."""
    longest, last = 0.0, time.thread_time()
    while not until.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    return longest


@pytest.mark.parametrize("name", SLOW)
async def test_slow_check_does_not_hold_up_the_event_loop(
    preparer: Preparer, isolated: IsolatedVerification, name: str
) -> None:
    keywords, value = SLOW[name]
    schema = await preparer.prepare(json.dumps({"type": "array", "maxItems": 500, **keywords}))
    verification = Verification(isolated)
    check = asyncio.create_task(
        verification.verdict(json.dumps(value), FinishReason.STOP, schema, "slow")
    )
    # In the event loop, each of them takes a second or more.
    assert await longest_iteration(check) < 0.25
    assert (await check).reason in (None, Reason.VALIDATION_FAILED)


async def test_quick_checks_wait_for_one_iteration_of_the_event_loop_each() -> None:
    """Many calls that end at the same time must not hold up the loop together."""
    verification, schema = Verification(LocalVerification()), prepared()
    served = 0
    checks = [
        asyncio.create_task(verification.verdict('{"a":1}', FinishReason.STOP, schema))
        for _ in range(50)
    ]
    while not all(check.done() for check in checks):
        await asyncio.sleep(0)
        served += 1
    assert served >= len(checks)


async def test_only_violations_and_expensive_checks_leave_the_event_loop() -> None:
    local = LocalVerification()
    verification, schema = Verification(local), prepared()
    assert await verification.verdict('{"a": 1.0}', None, schema, "me") == Verdict('{"a":1}')
    truncated = await verification.verdict('{"a"', FinishReason.LENGTH, schema, "me")
    assert truncated.reason is Reason.TRUNCATED
    assert local.asked_by == []
    failed = await verification.verdict('{"a":77}', None, schema, "me")
    assert [violation.keyword for violation in failed.violations] == ["maximum"]
    for text, changes in (
        ('{"a":1}', {"verifier": None}),
        ('{"a":1}', {"node_seconds": 0.01}),
        ('{"a":1,"b":1e-7}', {}),
        (json.dumps({"a": 1, "b": [1.5] * 400}), {}),
    ):
        verdict = await verification.verdict(text, None, prepared(**changes), "me")
        assert verdict.reason is None
    assert local.asked_by == ["me"] * 5


# What a text may repeat: entries, brackets, numbers of every form, escapes, other characters.
PARTS = ["1.5,", "1,", "1e-7,", "[],", '"",', '"\u0001",', "{", "[", '"', "1", " ", "é"]
ESCAPES = [
    "\\n",
    '\\"',
    "\\\\",
    "\\/",
    "\\u0001",
    "\\u00e9",
    "\\ud83d\\ude00",
    "é",
    "\U0001f600",
    "a",
]
# What makes RFC 8785 differ from Python's own writer: fractions and other names than ASCII.
SURROUNDINGS = ["{}", "[{},0]", '{{"a":1.5,"b":{}}}', '{{"é":{}}}', "[[[{},1e300]]]"]

# The first steps of every text, whatever is in it.
CLOCK_SECONDS = 100e-6


def assert_normalized_in_time(text: str) -> None:
    seconds = []
    for _ in range(5):
        began = time.thread_time()
        with contextlib.suppress(NotNormalizableError):
            normal_form(text)
        seconds.append(time.thread_time() - began)
    assert min(seconds) <= max_normalize_seconds(text) + CLOCK_SECONDS


@pytest.mark.parametrize("part", PARTS)
def test_normalizing_takes_no_longer_than_its_bound(part: str) -> None:
    text = part * (4_000 // len(part))
    for closed in (text, f"[{text}0]", f'{{"é":[{text}0.5]}}'):
        assert_normalized_in_time(closed)


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("part", ESCAPES)
def test_normalizing_a_long_string_takes_no_longer_than_its_bound(
    part: str, surroundings: str
) -> None:
    text = part * (40_000 // len(part))
    assert_normalized_in_time(surroundings.format(f'"{text}"'))
    assert_normalized_in_time(surroundings.format(f'{{"{text}":0.1}}'))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(PARTS + ESCAPES), min_size=1, max_size=6),
    st.integers(1, 2_000),
    st.sampled_from(SURROUNDINGS),
    st.booleans(),
)
def test_normalizing_any_text_takes_no_longer_than_its_bound(
    parts: list[str], times: int, surroundings: str, quoted: bool
) -> None:
    text = "".join(parts) * times
    assert_normalized_in_time(surroundings.format(f'"{text}"' if quoted else f"[{text}0]"))


def test_cost_of_a_check_counts_keys_values_and_bytes() -> None:
    schema = prepared(node_seconds=1.0, byte_seconds=0.0)
    # The root, its key, the array, its items, a key and a value.
    assert max_check_seconds('{"a":[1,{"b":null}]}', schema) >= 7
    schema = prepared(node_seconds=0.0, byte_seconds=1.0)
    assert max_check_seconds('"é"', schema) == len('"é"'.encode())
    assert max_check_seconds("1e-7", schema) == float("inf")


async def test_endless_check_is_stopped_and_counts_as_a_violation(
    isolated: IsolatedVerification,
) -> None:
    assert (await isolated_verdict(isolated, EXPLOSIVE, {"y": 1})).reason is None
    failed = await isolated_verdict(isolated, EXPLOSIVE, nested(60))
    assert failed.reason is Reason.VALIDATION_FAILED
    assert "too long" in failed.violations[0].message
    # The next check is not affected.
    (violation,) = (await isolated_verdict(isolated, EXPLOSIVE, {})).violations
    assert violation.keyword == "anyOf"


async def test_check_that_runs_out_of_stack_counts_as_a_violation(
    isolated: IsolatedVerification,
) -> None:
    names = [f"n{number}" for number in range(1_500)]
    definitions: dict[str, object] = {
        name: {"$ref": f"#/$defs/{following}"}
        for name, following in zip(names, [*names[1:], "last"], strict=True)
    }
    definitions["last"] = {"additionalProperties": {"$ref": "#/$defs/n0"}}
    schema = json.dumps({"$ref": "#/$defs/n0", "$defs": definitions})
    failed = await isolated_verdict(isolated, schema, nested(250))
    assert failed.reason is Reason.VALIDATION_FAILED
    assert "stack" in failed.violations[0].message


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (Failure.CPU_TIME, "too long"),
        (Failure.MEMORY, "too much memory"),
        (Failure.STACK, "out of stack"),
    ],
)
async def test_violation_says_what_ran_out(
    monkeypatch: pytest.MonkeyPatch, failure: Failure, words: str
) -> None:
    verdict = await isolated_verdict(failing(monkeypatch, failure), "{}", 1)
    assert verdict.reason is Reason.VALIDATION_FAILED
    assert words in verdict.violations[0].message


async def test_crash_says_nothing_about_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="crashed"):
        await isolated_verdict(failing(monkeypatch, Failure.CRASH), "{}", 1)


def failing(monkeypatch: pytest.MonkeyPatch, failure: Failure) -> IsolatedVerification:
    run = AsyncMock(return_value=JobResult(b"", failure, 0))
    monkeypatch.setattr(WorkerPool, "run", run)
    return IsolatedVerification()


async def test_value_with_too_many_violations_to_list_gets_the_first(
    isolated: IsolatedVerification,
) -> None:
    names = [f"k{index}" for index in range(9_000)]
    schema = json.dumps({"items": {"required": names}})
    (violation,) = (await isolated_verdict(isolated, schema, [{}] * 50)).violations
    assert (violation.keyword, violation.instance_pointer) == ("required", "/0")


def test_workers_keep_compiled_schemas_and_their_children_inherit_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = []

    class Counted(SchemaVerifier):
        @classmethod
        def of(cls, source: VerifierSource) -> SchemaVerifier:
            compiled.append(source.text)
            return super().of(source)

    monkeypatch.setattr(verification_worker, "SchemaVerifier", Counted)
    handler = verification_worker.load_handler({"cached_bytes": 1 << 20})
    assert handler.remember is not None
    for schema in ("true", '{"type":"string"}', "true", "true"):
        body = Check('"a"', None, VerifierSource(schema, Draft.DRAFT202012), 50).encode()
        assert decode_verdict(handler.handle(body)).reason is None
        handler.remember(body)
    # Here the same process does both: once for the check, once to keep it.
    assert compiled == ["true", "true", '{"type":"string"}', '{"type":"string"}']


async def test_callers_take_turns_at_the_worker(isolated: IsolatedVerification) -> None:
    flood = [
        asyncio.create_task(isolated_verdict(isolated, EXPLOSIVE, nested(60), "many"))
        for _ in range(7)
    ]
    await asyncio.sleep(0.01)
    slow_before = isolated.counters.slow
    await isolated_verdict(isolated, EXPLOSIVE, {"y": 1}, "one")
    # Before it came only the check that had the worker, and one more of the other caller.
    assert isolated.counters.slow - slow_before <= 2
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, GenirError)]
    # The other caller may have four slow checks.
    assert refused
    assert {error.reason for error in refused} == {Reason.OVERLOADED}


async def test_slow_checks_of_one_caller_do_not_use_up_those_of_another(
    isolated: IsolatedVerification,
) -> None:
    flood = [
        asyncio.create_task(isolated_verdict(isolated, EXPLOSIVE, nested(60), "many"))
        for _ in range(6)
    ]
    verdict = await isolated_verdict(isolated, EXPLOSIVE, nested(61), "one")
    await asyncio.gather(*flood, return_exceptions=True)
    assert "too long" in verdict.violations[0].message


async def test_caller_that_goes_away_costs_no_worker(isolated: IsolatedVerification) -> None:
    replaced = isolated.counters.replaced
    for _ in range(5):
        check = asyncio.create_task(isolated_verdict(isolated, EXPLOSIVE, nested(60), "gone"))
        await asyncio.sleep(0.02)
        check.cancel()
        with pytest.raises(asyncio.CancelledError):
            await check
    assert (await isolated_verdict(isolated, EXPLOSIVE, {"y": 1}, "one")).reason is None
    assert isolated.counters.replaced == replaced


def test_checks_and_verdicts_survive_the_way_to_a_worker_and_back() -> None:
    source = VerifierSource('{"title":"é\n"}', Draft.DRAFT7)
    for reason in (None, FinishReason.LENGTH):
        check = Check('{"a":"\ud800\n"}', reason, source, 50)
        assert Check.decode(check.encode()) == check
    for verdict in (
        Verdict("{}"),
        Verdict("", Reason.VALIDATION_FAILED, (Violation("/a", "/b", "c", "d"),), True),
    ):
        assert decode_verdict(encode_verdict(verdict)) == verdict
