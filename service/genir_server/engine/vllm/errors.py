"""Gives what vLLM's `AsyncLLM.generate` raises the types of `genir_server.engine.protocol`."""

from __future__ import annotations

from genir_server.engine.protocol import (
    EngineDeadError,
    EngineRejectedError,
    EngineUnavailableError,
)


def engine_error(error: Exception, *, dead: bool) -> Exception | None:
    """The error of the engine protocol for an exception of vLLM; None if none fits.

    Args:
        error: what `AsyncLLM.generate` raised.
        dead: whether the engine has died.

    """
    from vllm.exceptions import (
        GracefulHTTPError,
        RetryableRequestError,
        VLLMClientError,
        VLLMServerError,
    )
    from vllm.v1.engine import exceptions as engine_exceptions

    # vLLM 0.32 wraps some of what 0.33 raises as it is.
    wrapped = isinstance(error, engine_exceptions.EngineGenerateError)
    cause = error.__cause__ if wrapped else error
    if isinstance(error, engine_exceptions.EngineDeadError) or (
        dead and isinstance(error, VLLMServerError)
    ):
        return EngineDeadError("the engine died")
    if isinstance(cause, VLLMClientError):
        return EngineRejectedError(str(cause))
    # The latter are vLLM's own limits on its queue, if an engine argument sets them.
    if isinstance(cause, RetryableRequestError | GracefulHTTPError):
        return EngineUnavailableError(str(cause))
    return None
