"""The client of genir, which turns a prompt into JSON that satisfies a JSON Schema.

`IRClient` is the blocking client, `AsyncIRClient` the one for asyncio. Both call a server that
``genir serve`` starts, through the gRPC contract `genir.v1`. Importing this package imports neither
an engine nor pydantic.
"""

from __future__ import annotations

import logging

from genir._request import GenerationOptions, Prompt
from genir._retry import RetryPolicy
from genir._tls import tls_credentials
from genir._version import __version__
from genir.aio import AsyncIRClient, AsyncIRStream
from genir.client import IRClient, IRStream
from genir.errors import (
    CallCancelledError,
    ConstraintFailedError,
    DeadlineExceededError,
    ErrorDetails,
    ErrorReason,
    GenerationFailedError,
    GenirError,
    InvalidRequestError,
    InvalidResponseError,
    LimitExceededError,
    ModelRefusedError,
    NotAuthorizedError,
    NotFoundError,
    OverloadedError,
    SchemaError,
    ServerFaultError,
    TruncatedError,
    UnavailableError,
    ValidationFailedError,
)
from genir.ir import IR
from genir.types import (
    Accepted,
    Attempt,
    AttemptReason,
    AttemptStarted,
    Completed,
    Enforcement,
    EngineActivity,
    EngineRank,
    FieldViolation,
    FinishReason,
    GenerationFailure,
    IRResult,
    LoadProgress,
    LoadStage,
    Message,
    Phase,
    PromptFormat,
    Role,
    SchemaCacheStats,
    SchemaCheck,
    SchemaCoverage,
    SchemaInPrompt,
    SchemaLimit,
    SchemaNotice,
    SchemaShown,
    ServerHealth,
    StreamEvent,
    TextDelta,
    Timings,
    Usage,
    Versions,
    Violation,
    WarmedSchema,
    WarmupResult,
)

# Without a handler, Python would print the warnings of a library to stderr.
logging.getLogger("genir").addHandler(logging.NullHandler())

__all__ = [
    "IR",
    "Accepted",
    "AsyncIRClient",
    "AsyncIRStream",
    "Attempt",
    "AttemptReason",
    "AttemptStarted",
    "CallCancelledError",
    "Completed",
    "ConstraintFailedError",
    "DeadlineExceededError",
    "Enforcement",
    "EngineActivity",
    "EngineRank",
    "ErrorDetails",
    "ErrorReason",
    "FieldViolation",
    "FinishReason",
    "GenerationFailedError",
    "GenerationFailure",
    "GenerationOptions",
    "GenirError",
    "IRClient",
    "IRResult",
    "IRStream",
    "InvalidRequestError",
    "InvalidResponseError",
    "LimitExceededError",
    "LoadProgress",
    "LoadStage",
    "Message",
    "ModelRefusedError",
    "NotAuthorizedError",
    "NotFoundError",
    "OverloadedError",
    "Phase",
    "Prompt",
    "PromptFormat",
    "RetryPolicy",
    "Role",
    "SchemaCacheStats",
    "SchemaCheck",
    "SchemaCoverage",
    "SchemaError",
    "SchemaInPrompt",
    "SchemaLimit",
    "SchemaNotice",
    "SchemaShown",
    "ServerFaultError",
    "ServerHealth",
    "StreamEvent",
    "TextDelta",
    "Timings",
    "TruncatedError",
    "UnavailableError",
    "Usage",
    "ValidationFailedError",
    "Versions",
    "Violation",
    "WarmedSchema",
    "WarmupResult",
    "__version__",
    "tls_credentials",
]
