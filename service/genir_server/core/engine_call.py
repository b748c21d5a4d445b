"""One request to the engine, with the engine's errors as those of the contract."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from genir_server.domain.errors import FieldViolation, GenirError, Reason
from genir_server.engine.protocol import (
    EngineDeadError,
    EngineRejectedError,
    EngineUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from genir_server.domain.types import TextDelta
    from genir_server.engine.protocol import Engine, EngineRequest

_UNAVAILABLE_RETRY_SECONDS = 1.0
"""Seconds to wait before a request that the engine could not run is sent again."""


async def engine_deltas(engine: Engine, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
    """What the engine yields for a request.

    Raises:
        GenirError: ENGINE_DEAD, ENGINE_UNAVAILABLE, or SCHEMA_UNSUPPORTED if it refuses the
            request.

    """
    try:
        async with aclosing(engine.generate(request)) as deltas:
            async for delta in deltas:
                yield delta
    except EngineDeadError as fault:
        raise GenirError(
            Reason.ENGINE_DEAD, "the engine died while it worked on this request"
        ) from fault
    except EngineUnavailableError as fault:
        raise GenirError(
            Reason.ENGINE_UNAVAILABLE,
            f"the engine could not run this request now: {fault}",
            retry_after=_UNAVAILABLE_RETRY_SECONDS,
        ) from fault
    except EngineRejectedError as fault:
        raise GenirError(
            Reason.SCHEMA_UNSUPPORTED,
            f"the engine refused the request: {fault}",
            fields=(FieldViolation("spec.json_schema", "is refused by the engine"),),
        ) from fault
