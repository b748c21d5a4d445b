"""Sends hostile schemas and records the outcome of each."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from bench.hostile.cases import OK
from bench.hostile.identities import ATTACKERS_TOKEN
from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from bench.hostile.cases import Case

CALL_SECONDS = 300.0
WARM_UP_SECONDS = 60.0
WRITING_AT_ONCE = 4
_OPTIONS = (("grpc.max_send_message_length", 128 << 20),)


@dataclass(frozen=True, slots=True)
class Hit:
    """The outcome of one case.

    Attributes:
        name: name of the case.
        reason: "OK" or the reason; the status code's name when there is no reason.
        limit: the limit in the error; "" if none.
        decided: seconds until the schema was accepted or refused, measured in the client.
        seconds: the same until the call ended.
        documented: whether the case expects this outcome.
        message: message of the error.

    """

    name: str
    reason: str
    limit: str
    decided: float
    seconds: float
    documented: bool
    message: str

    def as_json(self) -> dict[str, object]:
        """The outcome as JSON, for the report."""
        return asdict(self)


class Attacker:
    """Calls a server with hostile schemas. Use as an asynchronous context manager."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._channel = grpc.aio.insecure_channel(target, _OPTIONS)
        self._stub = ir_service_pb2_grpc.IRServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {ATTACKERS_TOKEN}"),)

    async def __aenter__(self) -> Self:
        """Opens the channel. It connects at the first call."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the channel."""
        await self._channel.close()

    async def hit(
        self,
        case: Case,
        *,
        also: frozenset[str] = frozenset(),
        when_decided: Callable[[], object] = bool,
    ) -> Hit:
        """Sends one case and waits for its end.

        Args:
            case: what is sent.
            also: documented reasons in addition to those that the case expects.
            when_decided: called once, when the schema was accepted or the call has ended.

        """
        spec = generation_pb2.GenerationSpec(
            prompt="Go.",
            json_schema=case.text,
            max_attempts=1,
            max_tokens=case.max_tokens,
            priority=case.priority,
        )
        request = ir_service_pb2.StreamIRRequest(spec=spec)
        began = time.monotonic()
        decided = 0.0
        reason, limit, message = OK, "", ""
        try:
            call = self._stub.StreamIR(request, timeout=CALL_SECONDS, metadata=self._metadata)
            async for _ in call:
                if not decided:
                    decided = time.monotonic() - began
                    when_decided()
        except grpc.aio.AioRpcError as error:
            reason, limit = _why(error)
            message = (error.details() or "")[:200]
        seconds = time.monotonic() - began
        if not decided:
            decided = seconds
            when_decided()
        documented = case.allows(reason, limit) or reason in also
        return Hit(case.name, reason, limit, decided, seconds, documented, message)

    async def check(self, case: Case, *, also: frozenset[str] = frozenset()) -> Hit:
        """Checks the schema of a case without generating."""
        request = ir_service_pb2.CheckSchemaRequest(json_schema=case.text)
        call = self._stub.CheckSchema(request, timeout=CALL_SECONDS, metadata=self._metadata)
        return await _outcome(
            case.name, call, lambda reason, limit: case.allows(reason, limit) or reason in also
        )

    async def warm_up(
        self, name: str, schemas: Iterable[str], *, also: frozenset[str] = frozenset()
    ) -> Hit:
        """Prepares schemas ahead of their use. Many such calls at once may not end in time."""
        request = ir_service_pb2.WarmupRequest(json_schemas=schemas)
        call = self._stub.Warmup(request, timeout=WARM_UP_SECONDS, metadata=self._metadata)
        allowed = also | {OK, "DEADLINE_EXCEEDED"}
        return await _outcome(name, call, lambda reason, _: reason in allowed)

    async def volley(
        self, cases: Iterable[Case], at_once: int, *, also: frozenset[str] = frozenset()
    ) -> list[Hit]:
        """Sends cases, with a limit on those whose schema is not yet accepted or refused.

        Accepted ones generate while the next are sent, at most `WRITING_AT_ONCE` at a time.
        """
        deciding = asyncio.Semaphore(at_once)
        writing = asyncio.Semaphore(max(at_once, WRITING_AT_ONCE))

        async def one(case: Case) -> Hit:
            async with writing:
                await deciding.acquire()
                return await self.hit(case, also=also, when_decided=deciding.release)

        return list(await asyncio.gather(*map(one, cases)))


async def _outcome(
    name: str,
    call: Awaitable[object],
    is_documented: Callable[[str, str], bool],
) -> Hit:
    began = time.monotonic()
    reason, limit, message = OK, "", ""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        reason, limit = _why(error)
        message = (error.details() or "")[:200]
    seconds = time.monotonic() - began
    return Hit(name, reason, limit, seconds, seconds, is_documented(reason, limit), message)


def _why(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    status = rpc_status.from_call(error)  # type: ignore[arg-type] # it takes those of aio too
    for packed in status.details if status is not None else ():
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            packed.Unpack(info)
            return info.reason, info.metadata.get("limit", "")
    return error.code().name, ""
