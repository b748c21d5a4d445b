"""One asynchronous interface for both clients, so that every test runs with each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from genir import (
        AsyncIRClient,
        IRClient,
        IRResult,
        SchemaCheck,
        ServerHealth,
        StreamEvent,
        WarmupResult,
    )


class Caller(Protocol):
    """The methods of both clients."""

    async def generate(self, prompt: Any, **arguments: Any) -> IRResult[Any]: ...
    async def events(self, prompt: Any, **arguments: Any) -> list[StreamEvent[Any]]: ...
    async def first_event_only(self, prompt: Any) -> StreamEvent[Any]: ...
    async def check_schema(self, *schema: Any, **arguments: Any) -> SchemaCheck: ...
    async def health(self, **arguments: Any) -> ServerHealth: ...
    async def warmup(self, **arguments: Any) -> WarmupResult: ...
    async def wait_ready(self, timeout: float, **arguments: Any) -> ServerHealth: ...
    async def close(self) -> None: ...


class BlockingCaller:
    """`IRClient`, in threads."""

    def __init__(self, client: IRClient) -> None:
        self._client = client

    async def generate(self, prompt: Any, **arguments: Any) -> IRResult[Any]:
        def call() -> IRResult[Any]:
            result: IRResult[Any] = self._client.generate(prompt, **arguments)
            return result

        return await asyncio.to_thread(call)

    async def events(self, prompt: Any, **arguments: Any) -> list[StreamEvent[Any]]:
        def read() -> list[StreamEvent[Any]]:
            with self._client.stream(prompt, **arguments) as stream:
                return list(stream)

        return await asyncio.to_thread(read)

    async def first_event_only(self, prompt: Any) -> StreamEvent[Any]:
        def read() -> StreamEvent[Any]:
            with self._client.stream(prompt) as stream:
                return next(stream)

        return await asyncio.to_thread(read)

    async def check_schema(self, *schema: Any, **arguments: Any) -> SchemaCheck:
        return await asyncio.to_thread(self._client.check_schema, *schema, **arguments)

    async def health(self, **arguments: Any) -> ServerHealth:
        return await asyncio.to_thread(self._client.health, **arguments)

    async def warmup(self, **arguments: Any) -> WarmupResult:
        return await asyncio.to_thread(self._client.warmup, **arguments)

    async def wait_ready(self, timeout: float, **arguments: Any) -> ServerHealth:
        return await asyncio.to_thread(self._client.wait_ready, timeout, **arguments)

    async def close(self) -> None:
        self._client.close()


class AsyncioCaller:
    """`AsyncIRClient`."""

    def __init__(self, client: AsyncIRClient) -> None:
        self._client = client

    async def generate(self, prompt: Any, **arguments: Any) -> IRResult[Any]:
        result: IRResult[Any] = await self._client.generate(prompt, **arguments)
        return result

    async def events(self, prompt: Any, **arguments: Any) -> list[StreamEvent[Any]]:
        async with self._client.stream(prompt, **arguments) as stream:
            return [event async for event in stream]

    async def first_event_only(self, prompt: Any) -> StreamEvent[Any]:
        async with self._client.stream(prompt) as stream:
            return await anext(stream)

    async def check_schema(self, *schema: Any, **arguments: Any) -> SchemaCheck:
        return await self._client.check_schema(*schema, **arguments)

    async def health(self, **arguments: Any) -> ServerHealth:
        return await self._client.health(**arguments)

    async def warmup(self, **arguments: Any) -> WarmupResult:
        return await self._client.warmup(**arguments)

    async def wait_ready(self, timeout: float, **arguments: Any) -> ServerHealth:
        return await self._client.wait_ready(timeout, **arguments)

    async def close(self) -> None:
        await self._client.aclose()
