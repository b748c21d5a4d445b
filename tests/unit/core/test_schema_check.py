"""Schema checks without generation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from genir_server.core.schema_check import SchemaChecker, SchemaCheckRequest
from genir_server.domain.errors import FieldViolation, GenirError, Reason
from genir_server.domain.types import (
    Enforcement,
    SchemaCoverage,
    SchemaLimit,
    SchemaNotice,
    SchemaShown,
    Tightening,
)
from tests.support.scripted_engine import TEXT_SCHEMA, Schemas, ScriptedEngine, prepared

if TYPE_CHECKING:
    from genir_server.schema.types import PreparedSchema

BAD = '{"type":"nil"}'


class Careful(Schemas):
    """Knows only what was prepared, refuses one text, and prepares no faster than it is let."""

    def __init__(self, *schemas: PreparedSchema) -> None:
        super().__init__(*schemas)
        self.seen: set[str] = set()
        self.under_way = 0
        self.most_under_way = 0
        self.let = asyncio.Event()
        self.let.set()

    async def prepare(
        self, text: str, caller: str = "", tightening: Tightening = Tightening.NONE
    ) -> PreparedSchema:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.let.wait()
        finally:
            self.under_way -= 1
        if text == BAD:
            raise GenirError(
                Reason.SCHEMA_INVALID,
                "no such type",
                fields=(FieldViolation("spec.json_schema", "no such type"),),
                metadata={"pointer": "/type"},
            )
        schema = await super().prepare(text, caller, tightening)
        self.seen.add(schema.digest)
        return schema

    def known(self, digest: str) -> PreparedSchema | None:
        return super().known(digest) if digest in self.seen else None


def checker(
    *schemas: PreparedSchema, concurrency: int = 1
) -> tuple[SchemaChecker, Careful, ScriptedEngine]:
    subject, engine = Careful(*schemas), ScriptedEngine()
    builtin = prepared('{"title":"built-in"}')
    return SchemaChecker(subject, builtin, engine, concurrency=concurrency), subject, engine


async def refused(subject: SchemaChecker, request: SchemaCheckRequest) -> GenirError:
    with pytest.raises(GenirError) as raised:
        await subject.check(request)
    return raised.value


async def test_what_is_left_to_check_decides_the_coverage() -> None:
    narrowed = SchemaNotice("maxItems", "/maxItems", Enforcement.NARROWED)
    left = SchemaNotice("not", "/not", Enforcement.CHECKED_AFTER_DECODING)
    exact = prepared(notices=(narrowed,))
    partly = prepared('{"not":{}}', notices=(left, narrowed))
    subject, _, _ = checker(exact, partly)
    found = await subject.check(SchemaCheckRequest(TEXT_SCHEMA))
    assert found.coverage is SchemaCoverage.EXACT
    assert (await subject.check(SchemaCheckRequest(partly.text))).coverage is SchemaCoverage.CHECKED


async def test_schema_check_caches_the_schema_and_never_reaches_the_engine() -> None:
    subject, _, engine = checker(prepared(measured={"nodes": 3}))
    first = await subject.check(SchemaCheckRequest(TEXT_SCHEMA))
    assert not first.cached
    assert first.limits == (SchemaLimit("nodes", 50, 3), SchemaLimit("probe_seconds", 2.0, None))
    assert first.engine_schema == ""
    assert first.schema_shown is SchemaShown.FULL
    again = await subject.check(
        SchemaCheckRequest(schema_digest=first.schema.digest, include_engine_schema=True)
    )
    assert again.cached
    assert again.engine_schema == TEXT_SCHEMA
    assert (await subject.check(SchemaCheckRequest(TEXT_SCHEMA))).cached
    assert (await subject.check(SchemaCheckRequest())).schema.text == '{"title":"built-in"}'
    assert engine.requests == []


async def test_schema_too_large_to_show_is_reported() -> None:
    subject, _, _ = checker(prepared(shown_full="w" * 2000, shown_without_descriptions="b" * 900))
    found = await subject.check(SchemaCheckRequest(TEXT_SCHEMA))
    assert found.schema_shown is SchemaShown.WITHOUT_DESCRIPTIONS


async def test_engine_schema_over_its_size_limit_is_omitted() -> None:
    subject, _, _ = checker(prepared(engine_schema="x" * ((2 << 20) + 1)))
    found = await subject.check(SchemaCheckRequest(TEXT_SCHEMA, include_engine_schema=True))
    assert found.engine_schema == ""


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (SchemaCheckRequest(BAD), Reason.SCHEMA_INVALID, "json_schema"),
        (SchemaCheckRequest("  "), Reason.INVALID_FIELD, "json_schema"),
        (SchemaCheckRequest(schema_digest="md5:x"), Reason.INVALID_FIELD, "schema_digest"),
        (
            SchemaCheckRequest(schema_digest="sha256:" + "0" * 64),
            Reason.SCHEMA_NOT_FOUND,
            "schema_digest",
        ),
    ],
)
async def test_refusal_names_the_field_of_its_request(
    request_: SchemaCheckRequest, reason: Reason, field: str
) -> None:
    subject, _, _ = checker()
    error = await refused(subject, request_)
    assert (error.reason, [violation.field for violation in error.fields]) == (reason, [field])


async def test_schema_checks_are_limited_and_leave_workers_to_generate_calls() -> None:
    schemas = [prepared(f'{{"title":"{number}"}}') for number in range(70)]
    subject, careful, _ = checker(*schemas, concurrency=2)
    careful.let.clear()
    calls = [
        asyncio.create_task(subject.check(SchemaCheckRequest(schema.text))) for schema in schemas
    ]
    done, waiting = await asyncio.wait(calls, timeout=0.2)
    assert len(waiting) == 64
    for call in done:
        error = call.exception()
        assert isinstance(error, GenirError)
        assert (error.reason, error.retry_after) == (Reason.OVERLOADED, 1.0)
    careful.let.set()
    await asyncio.gather(*waiting)
    assert careful.most_under_way == 2
    assert (await subject.check(SchemaCheckRequest(schemas[0].text))).cached


async def test_caller_with_nothing_under_way_does_not_wait_behind_a_backlog() -> None:
    schemas = [prepared(f'{{"title":"{number}"}}') for number in range(30)]
    subject, careful, _ = checker(*schemas)
    careful.let.clear()

    def call(number: int, caller: str) -> asyncio.Task[object]:
        request = SchemaCheckRequest(schemas[number].text, caller=caller)
        return asyncio.create_task(subject.check(request))

    calls = [call(number, "flooding") for number in range(20)]
    await asyncio.sleep(0.05)
    assert careful.most_under_way == 1
    calls += [call(20, "other"), call(21, "other"), call(22, "third")]
    await asyncio.sleep(0.05)
    # One more at a time, and only the first of a caller.
    assert careful.most_under_way == 2
    careful.let.set()
    await asyncio.gather(*calls)
    assert careful.most_under_way == 2
    calls = [call(23, "other"), call(24, "third"), call(25, "fourth")]
    await asyncio.gather(*calls)


@pytest.mark.parametrize("kind", ["check", "keep ready"])
async def test_one_caller_cannot_use_up_the_calls_about_schemas(kind: str) -> None:
    schemas = [prepared(f'{{"title":"{number}"}}') for number in range(70)]
    subject, careful, _ = checker(*schemas)
    careful.let.clear()

    async def call(text: str, caller: str) -> None:
        if kind == "check":
            await subject.check(SchemaCheckRequest(text, caller=caller))
        else:
            await subject.keep_ready([text], caller)

    flood = [asyncio.create_task(call(schema.text, "flooding")) for schema in schemas]
    await asyncio.sleep(0)
    others = [asyncio.create_task(call(schemas[0].text, f"other {number}")) for number in range(20)]
    done, _ = await asyncio.wait([*flood, *others], timeout=0.2)
    assert len(done) == 6
    careful.let.set()
    await asyncio.gather(*others)
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert {type(each) for each in outcomes[:64]} == {type(None)}
    assert {each.reason for each in outcomes[64:] if isinstance(each, GenirError)} == {
        Reason.OVERLOADED
    }


async def test_checks_by_digest_and_of_the_built_in_schema_are_limited_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let = asyncio.Event()

    async def slow(*_: object) -> SchemaShown:
        await let.wait()
        return SchemaShown.FULL

    monkeypatch.setattr("genir_server.core.schema_check.shown_by_size", slow)
    subject, _, _ = checker()
    calls = [asyncio.create_task(subject.check(SchemaCheckRequest())) for _ in range(70)]
    done, waiting = await asyncio.wait(calls, timeout=0.2)
    assert (len(done), len(waiting)) == (6, 64)
    let.set()
    await asyncio.gather(*waiting)


async def test_each_warmed_schema_reports_its_outcome() -> None:
    good = prepared()
    subject, careful, _ = checker(good)
    first, bad, empty, again = await subject.keep_ready([good.text, BAD, "", good.text])
    assert first is again is good
    assert isinstance(bad, GenirError)
    assert (bad.reason, bad.metadata) == (Reason.SCHEMA_INVALID, {"pointer": "/type"})
    assert bad.fields[0].field == "json_schemas[1]"
    assert isinstance(empty, GenirError)
    assert empty.reason is Reason.INVALID_FIELD
    assert careful.known(good.digest) is good


async def test_draining_ends_all_attempts() -> None:
    class Draining(Schemas):
        async def prepare(
            self, text: str, caller: str = "", tightening: Tightening = Tightening.NONE
        ) -> PreparedSchema:
            raise GenirError(Reason.DRAINING, f"no time for {text}, {caller}, {tightening}")

    subject = SchemaChecker(Draining(), prepared(), ScriptedEngine())
    with pytest.raises(GenirError) as raised:
        await subject.keep_ready([TEXT_SCHEMA])
    assert raised.value.reason is Reason.DRAINING
