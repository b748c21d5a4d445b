"""An engine whose output a test scripts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from genir_server.core.generate import IRGenerator
from genir_server.core.verify import Verdict, Verification, full_verdict
from genir_server.domain.digest import digest
from genir_server.domain.types import (
    Enforcement,
    FinishReason,
    SchemaNotice,
    TextDelta,
    Tightening,
)
from genir_server.engine.protocol import (
    EngineActivity,
    EngineInfo,
    EngineRequest,
    RankActivity,
)
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.types import PreparedSchema, SchemaStatistics, VerifierSource
from genir_server.schema.verify.verifier import SchemaVerifier

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from genir_server.domain.types import Message
    from genir_server.engine.protocol import Engine
    from genir_server.schema.types import ClosingPlan, SchemaPreparer, WrittenText

SINGLE_KEYS = '{"title":"with single keys"}'
"""Stands for an engine schema that allows no duplicate keys."""
TEXT_SCHEMA = '{"type":"object","properties":{"a":{"type":"integer","maximum":9}},"required":["a"]}'


class ScriptedEngine:
    """Answers the nth request with the nth text, one character for each token."""

    def __init__(
        self,
        *texts: str | Exception,
        finish: FinishReason = FinishReason.STOP,
        max_model_len: int = 4096,
        system_role: bool = True,
    ) -> None:
        self.requests: list[EngineRequest] = []
        self.chats: list[tuple[Message, ...]] = []
        self.open_requests = 0
        self._texts = list(texts)
        self._finish = finish
        self._system_role = system_role
        self.info = EngineInfo("scripted", ("poet",), max_model_len, "guidance")
        self.effective_backend = "guidance"
        self.dead = False

    def activity(self) -> EngineActivity:
        return EngineActivity(
            tuple(
                RankActivity(
                    rank,
                    running=0 if rank else self.open_requests,
                    backend=self.effective_backend,
                )
                for rank in range(self.info.ranks)
            )
        )

    async def render_chat(self, messages: Sequence[Message]) -> list[int]:
        if not self._system_role and messages[0].role == "system":
            raise ValueError("no system role")
        self.chats.append(tuple(messages))
        return list("".join(message.content for message in messages).encode())

    async def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        self.requests.append(request)
        text = self._texts[len(self.requests) - 1]
        self.open_requests += 1
        try:
            if isinstance(text, Exception):
                raise text
            at = 0
            while at < len(text):
                upto = min(len(text), at + (request.tokens_per_delta if at else 1))
                yield TextDelta(
                    text[at:upto],
                    upto - at,
                    self._finish if upto == len(text) else None,
                    cached_prompt_tokens=3,
                    queue_seconds=0.25,
                    token_ids=tuple(text[at:upto].encode()),
                )
                at = upto
        finally:
            self.open_requests -= 1

    async def wait_dead(self, seconds: float) -> bool:
        for _ in range(max(1, round(seconds / 0.01))):
            if self.dead:
                break
            await asyncio.sleep(0.01)
        return self.dead

    async def answer(self) -> None:
        pass

    def kill(self) -> None:
        self.dead = True

    async def shutdown(self) -> None:
        self.dead = True


class StuckEngine(ScriptedEngine):
    """Accepts every request and answers none until `release` is set."""

    def __init__(self, *texts: str) -> None:
        super().__init__(*texts)
        self.started = asyncio.Event()
        self.release = asyncio.Event()

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        self.open_requests += 1
        self.started.set()
        try:
            await self.release.wait()
            async for delta in super().generate(request):
                yield delta
        finally:
            self.open_requests -= 1


class LocalVerification:
    """Finds violations in the test's own process."""

    def __init__(self) -> None:
        self.asked_by: list[str] = []

    async def verdict(
        self, raw: str, finish_reason: FinishReason | None, source: VerifierSource, caller: str
    ) -> Verdict:
        self.asked_by.append(caller)
        verifier = SchemaVerifier(source.text, source.draft)
        return full_verdict(raw, finish_reason, verifier, max_violations=50)


def generator_with(engine: Engine, schemas: SchemaPreparer, builtin: PreparedSchema) -> IRGenerator:
    """A generator that needs no worker processes."""
    return IRGenerator(engine, schemas, Verification(LocalVerification()), builtin)


def prepared(text: str = TEXT_SCHEMA, **changes: Any) -> PreparedSchema:
    """A prepared schema, for tests of other things."""
    fields: dict[str, Any] = {
        "digest": digest(text),
        "text": text,
        "engine_schema": text,
        "notices": (),
        "source": VerifierSource(text, Draft.DRAFT202012),
        "verifier": SchemaVerifier(text, Draft.DRAFT202012),
        "node_seconds": 1e-6,
        "byte_seconds": 0.0,
        "shown_full": text,
        "shown_without_descriptions": text,
        "minimal_instance": None,
        "min_tokens": 1,
    }
    return PreparedSchema(**{**fields, **changes})


class Schemas:
    """Prepares schemas by looking them up among those the test gave."""

    def __init__(self, *schemas: PreparedSchema) -> None:
        self._by_text = {schema.text: schema for schema in schemas}
        self.asked_by: list[str] = []
        self.unfinished: list[tuple[str, WrittenText, int, str]] = []
        self.tightened = {Tightening.SINGLE_KEYS: SINGLE_KEYS}

    async def prepare(
        self, text: str, caller: str = "", tightening: Tightening = Tightening.NONE
    ) -> PreparedSchema:
        self.asked_by.append(caller)
        schema = self._by_text[text]
        form = self.tightened.get(tightening)
        if form is None:
            return schema
        narrowed = SchemaNotice("", "", Enforcement.NARROWED)
        return replace(schema, engine_schema=form, notices=(narrowed,))

    async def plan_closing(
        self, schema: PreparedSchema, written: WrittenText, max_tokens: int, caller: str = ""
    ) -> ClosingPlan | None:
        self.unfinished.append((schema.digest, written, max_tokens, caller))
        return None

    def known(self, digest: str) -> PreparedSchema | None:
        return next((s for s in self._by_text.values() if s.digest == digest), None)

    def limits(self) -> dict[str, float]:
        return {"nodes": 50, "probe_seconds": 2.0}

    def statistics(self) -> SchemaStatistics:
        return SchemaStatistics(entries=len(self._by_text))

    async def close(self) -> None:
        pass
