"""The server reads every request field of the contract and sets every response field.

Each test goes through a real channel, so that no field is lost in the servicer either. Each has a
counterpart on a contract with one field more, which no code reads or sets; the test must report it.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RequestInfo
from grpc_status import rpc_status

from genir.v1 import generation_pb2, ir_service_pb2, status_pb2
from genir_server.admission import Admission, AdmissionLimits
from genir_server.auth.authentication import Authentication
from genir_server.core import self_test as self_test_module
from genir_server.core.schema_check import SchemaChecker
from genir_server.core.self_test import CANARY_SCHEMA, SelfTest
from genir_server.domain.caller import Caller, Permission
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.limits import RequestLimits
from genir_server.domain.types import Enforcement, FinishReason, SchemaNotice, TextDelta
from genir_server.engine.protocol import EngineActivity, LoadProgress, LoadStage, RankActivity
from genir_server.observability.versions import installed_versions
from genir_server.schema.types import ClosingPlan, SchemaStatistics
from genir_server.settings import ServerSettings
from genir_server.supervision.lifecycle import Lifecycle, Phase
from genir_server.transport import servicer
from genir_server.transport.interceptor import CallInterceptor
from genir_server.transport.server import StandardHealth, bind, build_server, start
from genir_server.transport.servicer import IRServicer
from tests.support.contract_fields import (
    NEW_FIELD,
    assign,
    field_names,
    leaf_paths,
    name_of,
    samples,
    set_fields,
    with_new_field,
)
from tests.support.scripted_engine import (
    TEXT_SCHEMA,
    Schemas,
    ScriptedEngine,
    generator_with,
    prepared,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from google.protobuf.message import Message
    from google.rpc.status_pb2 import Status

    from genir_server.engine.protocol import EngineRequest
    from genir_server.schema.types import PreparedSchema, WrittenText
    from tests.support.contract_fields import Path

    Stream = grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
    Unary = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]

GOOD, INVALID, CUT = '{"a":1}', '{"a":77}', '{"a":'
CANARY_IR = '{"intent":{"summary":"All is well."}}'
OTHER_SCHEMA = '{"type":"object","properties":{"a":{"type":"integer"}}}'
UNUSABLE_SCHEMA = "{"
LONG_INVALID = f'{{"a":77,"b":{json.dumps([*range(800)])}}}'
"""Longer than what a status holds of the text of a generation that failed."""
TIMES = ("timings", "elapsed", "generation_elapsed", "uptime", "phase_elapsed", "canary_elapsed")
"""Differ from call to call, whatever was asked."""

REQUESTS: dict[str, type[Message]] = {
    "GenerateIR": ir_service_pb2.GenerateIRRequest,
    "StreamIR": ir_service_pb2.StreamIRRequest,
    "CheckSchema": ir_service_pb2.CheckSchemaRequest,
    "Health": ir_service_pb2.HealthRequest,
    "Warmup": ir_service_pb2.WarmupRequest,
}
RESPONSES: dict[str, type[Message]] = {
    "GenerateIR": ir_service_pb2.GenerateIRResponse,
    "StreamIR": ir_service_pb2.StreamIRResponse,
    "CheckSchema": ir_service_pb2.CheckSchemaResponse,
    "Health": ir_service_pb2.HealthResponse,
    "Warmup": ir_service_pb2.WarmupResponse,
}

NUMBERED_BY_THE_SERVER = (ir_service_pb2.CheckSchemaResponse, ir_service_pb2.WarmupResponse)
"""Responses to requests that cannot bring a request id."""


class Engine(ScriptedEngine):
    """Writes `texts` in order, the last one again and again, and good self-tests beside them."""

    def __init__(self, *texts: str) -> None:
        super().__init__()
        self.info = replace(self.info, can_resume=True)
        self.answers = list(texts)
        self.canary = CANARY_IR

    def activity(self) -> EngineActivity:
        first = RankActivity(0, 2, 3, 1e9, 0.5, "guidance")
        return EngineActivity((first, replace(first, rank=1)))

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        if request.request_id.startswith("canary"):
            text = self.canary
        elif request.request_id.startswith("warm-up"):
            text = GOOD
        else:
            text = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self._texts = [text] * (len(self.requests) + 1)
        self._finish = FinishReason.LENGTH if text == CUT else FinishReason.STOP
        async for delta in super().generate(request):
            yield delta


class CountedSchemas(Schemas):
    """Gives every count a value."""

    async def prepare(self, text: str, *arguments: Any, **options: Any) -> PreparedSchema:
        if text not in self._by_text:
            raise GenirError(Reason.SCHEMA_INVALID, "no such schema", metadata={"pointer": "/a"})
        return await super().prepare(text, *arguments, **options)

    async def plan_closing(
        self, schema: PreparedSchema, written: WrittenText, max_tokens: int, caller: str = ""
    ) -> ClosingPlan | None:
        await super().plan_closing(schema, written, max_tokens, caller)
        kept = len(written.text) - 1
        return ClosingPlan(
            kept, "", None, "", ":1}", tuple(range(kept)), kept, kept + 3, ("", "/a")
        )

    def statistics(self) -> SchemaStatistics:
        counts: dict[str, Any] = {
            field.name: number for number, field in enumerate(fields(SchemaStatistics), 1)
        }
        return SchemaStatistics(**{**counts, "refused": {Reason.SCHEMA_INVALID: 5}})


class EveryPermission(Authentication):
    """Lets every caller do everything, so that every field can make a difference."""

    def caller_of(
        self,
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 - as in its base.
    ) -> Caller:
        return Caller("tester", frozenset(Permission))


class InProcess:
    """A server in this process. Sends and gets bytes, so that any contract can be tried on it."""

    def __init__(
        self,
        engine: Engine,
        lifecycle: Lifecycle,
        admission: Admission,
        channel: grpc.aio.Channel,
    ) -> None:
        self.engine = engine
        self.lifecycle = lifecycle
        self.admission = admission
        self._channel = channel

    async def call(self, method: str, request: Message) -> tuple[list[bytes], Status | None]:
        """The response messages of a call, and the status of one that was refused."""
        messages: list[bytes] = []
        name = f"/genir.v1.IRService/{method}"
        data = request.SerializeToString()
        try:
            if method == "StreamIR":
                stream: Stream = self._channel.unary_stream(name)
                async for message in stream(data):
                    messages.append(message)  # noqa: PERF401 - a refusal keeps those before it.
            else:
                unary: Unary = self._channel.unary_unary(name)
                messages.append(await unary(data))
        except grpc.aio.AioRpcError as error:
            return messages, rpc_status.from_call(error)  # type: ignore[arg-type] # Has what it needs.
        return messages, None


@asynccontextmanager
async def serving(*texts: str, **schema: Any) -> AsyncIterator[InProcess]:
    engine = Engine(*texts)
    builtin = prepared(**schema)
    schemas = CountedSchemas(builtin, prepared(OTHER_SCHEMA), prepared(CANARY_SCHEMA))
    generator = generator_with(engine, schemas, builtin)
    lifecycle = Lifecycle()
    lifecycle.attach(generator, SelfTest(generator))
    lifecycle.schema_checker = SchemaChecker(schemas, builtin, engine)
    lifecycle.enter(Phase.READY, "ready")
    admission = Admission(AdmissionLimits(max_calls=8))
    servicer = IRServicer(
        lifecycle,
        admission,
        model="scripted",
        configured_backend="guidance",
        limits=RequestLimits(),
    )
    calls = CallInterceptor(60.0, EveryPermission())
    settings = ServerSettings.model_validate({})
    server = build_server(settings, servicer, StandardHealth(lifecycle), calls)
    port = bind(server, "127.0.0.1", 0)
    await start(server, servicer, calls)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield InProcess(engine, lifecycle, admission, channel)
    finally:
        await server.stop(0)


@pytest.fixture(autouse=True)
def _no_pause_between_warm_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test_module, "INTERVAL_SECONDS", 0.0)


def base(method: str, path: Path, request_class: type[Message]) -> Message:
    """A request that is accepted and does not set the field at the end of `path`."""
    request: Any = request_class()
    if method in ("GenerateIR", "StreamIR"):
        # Numbered by the caller: the server's own numbers differ from call to call.
        request.spec.request_id = "r-1"
        if "conversation" in name_of(path):
            request.spec.conversation.messages.add(role=generation_pb2.ROLE_USER, content="hi")
        elif name_of(path) != "spec.prompt":
            request.spec.prompt = "hi"
    return request  # type: ignore[no-any-return] # Any, to set fields of more than one class.


def values(path: Path) -> list[Any]:
    """Values for a field. Of those that are set by hand, one at least is usable."""
    if path[-1].name in ("json_schema", "json_schemas"):
        return [OTHER_SCHEMA]
    return samples(path[-1])


async def observed(method: str, request: Message, text: str) -> object:
    """Every visible effect of a request: the engine's input, and the responses to `text`."""
    async with serving(text) as server:
        if method == "Warmup":
            await server.call("Warmup", ir_service_pb2.WarmupRequest())
        before = len(server.engine.requests)
        messages, status = await server.call(method, request)
        to_engine = [
            # Its number is the server's own; the rest follows from the request.
            replace(each, request_id=each.request_id.rpartition("-")[0])
            for each in server.engine.requests[before:]
        ]
        responses = [comparable(RESPONSES[method].FromString(message)) for message in messages]
        return to_engine, server.engine.chats, responses, refusal(status)


def comparable(response: Message) -> bytes:
    """A response without what differs from call to call."""
    for name in TIMES:
        if name in response.DESCRIPTOR.fields_by_name:
            response.ClearField(name)
    if isinstance(response, NUMBERED_BY_THE_SERVER):
        response.ClearField("request_id")
    return response.SerializeToString(deterministic=True)


def refusal(status: Status | None) -> tuple[object, ...]:
    """A status without the request id, which differs from call to call."""
    if status is None:
        return ()
    details = [each.value for each in status.details if not each.Is(RequestInfo.DESCRIPTOR)]
    return status.code, status.message, details


async def ignored_fields(method: str, request_class: type[Message]) -> list[str]:
    """The fields of a request that make no difference, whatever their value."""
    ignored = []
    for path in leaf_paths(request_class):
        # A text that is not valid shows the number of attempts, too.
        text = CUT if path[-1].name == "on_budget" else INVALID
        without = await observed(method, base(method, path, request_class), text)
        for value in values(path):
            request = base(method, path, request_class)
            assign(request, path, value)
            if await observed(method, request, text) != without:
                break
        else:
            ignored.append(name_of(path))
    return ignored


@pytest.mark.parametrize("method", REQUESTS)
async def test_every_request_field_makes_a_difference(method: str) -> None:
    assert await ignored_fields(method, REQUESTS[method]) == []


@pytest.mark.parametrize(
    ("method", "owner", "path"),
    [
        ("GenerateIR", "genir.v1.GenerationSpec", f"spec.{NEW_FIELD}"),
        ("CheckSchema", "genir.v1.CheckSchemaRequest", NEW_FIELD),
        ("Health", "genir.v1.HealthRequest", NEW_FIELD),
        ("Warmup", "genir.v1.WarmupRequest", NEW_FIELD),
    ],
)
async def test_a_new_request_field_that_the_server_ignores_is_found(
    method: str, owner: str, path: str
) -> None:
    extended = with_new_field(REQUESTS[method], owner)
    assert await ignored_fields(method, extended) == [path]


async def responses() -> dict[type[Message], list[bytes]]:
    """Responses to calls that set every field a response can have."""
    given: dict[type[Message], list[bytes]] = {each: [] for each in RESPONSES.values()}
    given[status_pb2.GenerationFailure] = []
    schema: dict[str, Any] = {
        "notices": (SchemaNotice("not", "/not", Enforcement.CHECKED_AFTER_DECODING, "why"),),
        "minimal_instance": GOOD,
        "closable_tokens": 7,
        "measured": {"nodes": 3},
        "prepare_seconds": 0.5,
        "compile_seconds": 0.25,
        "max_mask_seconds": 0.001,
    }
    spec = generation_pb2.GenerationSpec(prompt="hi", lora_adapter="poet")
    texts = (CUT, CUT, INVALID, GOOD, INVALID, GOOD, LONG_INVALID)
    async with serving(*texts, **schema) as server:

        async def call(method: str, **arguments: Any) -> Status | None:
            messages, status = await server.call(method, REQUESTS[method](**arguments))
            given[RESPONSES[method]].extend(messages)
            return status

        for _ in range(2):
            await call("GenerateIR", spec=spec)
            await call("StreamIR", spec=spec)
        failed = await call("GenerateIR", spec=spec)
        assert failed is not None
        given[status_pb2.GenerationFailure].extend(
            each.value
            for each in failed.details
            if each.Is(status_pb2.GenerationFailure.DESCRIPTOR)
        )
        await call("CheckSchema", json_schema=TEXT_SCHEMA, include_engine_schema=True)
        await call("Warmup")
        await call("Warmup", json_schemas=[OTHER_SCHEMA, UNUSABLE_SCHEMA])
        server.lifecycle.set_lame_duck(on=True)
        server.lifecycle.load_progress = LoadProgress(LoadStage.WEIGHTS, 1, 2, "shards")
        await call("Health", deep=True)
        server.engine.canary = INVALID
        with server.admission.admit():
            await call("Health", deep=True)
    return given


def never_set(given: dict[type[Message], list[bytes]], owner: str = "") -> set[str]:
    """The fields that no response sets, with one field more in the message `owner` if there is."""
    known: set[str] = set()
    found: set[str] = set()
    for response_class, messages in given.items():
        read_as = with_new_field(response_class, owner) if owner else response_class
        known |= field_names(read_as)
        for message in messages:
            found |= set_fields(read_as.FromString(message))
    return known - found


async def test_every_response_field_is_set_and_a_new_one_that_is_not_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Not every package that has a version in Health need be installed here.
    versions = dict.fromkeys(installed_versions(), "1.0")
    monkeypatch.setattr(servicer, "installed_versions", lambda: versions)
    given = await responses()
    assert never_set(given) == set()
    for owner in ("genir.v1.Usage", "genir.v1.HealthResponse", "genir.v1.GenerationFailure"):
        assert never_set(given, owner) == {f"{owner}.{NEW_FIELD}"}
