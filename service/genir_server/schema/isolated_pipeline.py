"""Runs the pipeline in worker processes. Both sides: the server's and the worker's."""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.grammar_tokenizer import GrammarTokenizer
from genir_server.domain.numbers import can_be_answered
from genir_server.domain.types import Tightening
from genir_server.schema.analysis import encode_reply
from genir_server.schema.closing.message import ClosingRequest, decode_plan, encode_plan
from genir_server.schema.errors import SchemaRefusedError, too_complex
from genir_server.schema.isolation.job import Failure, Handler, WorkerConfiguration
from genir_server.schema.isolation.pool import PoolLimits, WorkerPool
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.types import VerifierSource, WrittenText

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import llguidance

    from genir_server.schema.isolation.job import JobResult
    from genir_server.schema.isolation.pool import PoolCounters
    from genir_server.schema.pipeline import Pipeline
    from genir_server.schema.types import ClosingPlan

# Python code that recurses deeper than this on a caller's schema is refused, not crashed.
_MAX_RECURSION = 2_000
# The first line of a job: this, or how the schema to analyse is tightened.
_CLOSING = b"closing"
# Searching stops after this, and gives the best plan so far, before the limit ends the process.
_CLOSING_TIME_SHARE = 0.5
_WARM_UP_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z]+$"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True},
            "at": {"type": "string", "format": "date-time"},
            "size": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
            "next": {"$ref": "#/$defs/next"},
        },
        "required": ["name", "size"],
        "additionalProperties": False,
        "$defs": {"next": {"type": "object", "properties": {"size": {"type": "number"}}}},
    }
)


class IsolatedPipeline:
    """Worker processes that analyse schemas.

    Args:
        tokenizer: the model's; None for a tokenizer of single bytes.
        limits: what is refused.
        bounds: bounds on output where a schema sets none.
        workers: processes for all schemas, 1 and up; one more is reserved for slow schemas.
        for_xgrammar: whether engine schemas have to suit the backend xgrammar.

    """

    def __init__(
        self,
        tokenizer: GrammarTokenizer | None,
        limits: SchemaLimits,
        bounds: NarrowingBounds,
        workers: int,
        *,
        for_xgrammar: bool = False,
    ) -> None:
        self._limits = limits
        self._tokenizer_file = None if tokenizer is None else _file_of(tokenizer)
        self._pool = WorkerPool(
            WorkerConfiguration(
                __name__,
                {
                    "tokenizer": self._tokenizer_file,
                    "limits": asdict(limits),
                    "bounds": asdict(bounds),
                    "for_xgrammar": for_xgrammar,
                },
                memory_bytes=limits.probe_bytes,
            ),
            PoolLimits(
                quick_seconds=limits.quick_seconds,
                cpu_seconds=limits.probe_seconds,
                wall_seconds=limits.probe_wall_seconds,
            ),
            workers=workers,
            purpose="prepare the schema",
            inherited=() if self._tokenizer_file is None else (self._tokenizer_file,),
        )

    @property
    def counters(self) -> PoolCounters:
        """What happened in the workers since the start."""
        return self._pool.counters

    async def start(self) -> None:
        """Starts the workers and waits until they are warm.

        Raises:
            OSError: a process cannot be started.
            RuntimeError: a worker does not start; the message is the end of its standard error.

        """
        await self._pool.start()

    async def close(self) -> None:
        """Ends the workers. May be called more than once."""
        await self._pool.close()
        file, self._tokenizer_file = self._tokenizer_file, None
        if file is not None:
            os.close(file)

    async def analyse(
        self,
        text: str,
        caller: str = "",
        tightening: Tightening = Tightening.NONE,
        on_start: Callable[[], None] | None = None,
    ) -> JobResult:
        """Analyses a schema. `decode_reply` reads the body of the result.

        Args:
            text: the schema.
            caller: who sent it; callers that wait share the workers fairly.
            tightening: what the engine schema rules out beyond the usual.
            on_start: called when a worker begins with it.

        Raises:
            SchemaRefusedError: SCHEMA_TOO_COMPLEX; the schema takes more processor time than
                `SchemaLimits.probe_seconds`, or more memory or stack than there is.
            GenirError: OVERLOADED when `SchemaLimits.probe_wall_seconds` passes first; DRAINING
                when the server is going down.

        """
        result = await self._pool.run(f"{tightening.value}\n{text}".encode(), caller, on_start)
        if result.failure is not None:
            raise refusal_of(result.failure, self._limits)
        return result

    async def plan_closing(self, request: ClosingRequest, caller: str = "") -> ClosingPlan | None:
        """Plans how a half-written value ends.

        Args:
            request: what is planned.
            caller: who waits for it; callers that wait share the workers fairly.

        Returns:
            The plan; None if there is none, or if finding it takes too much time or memory.

        """
        try:
            result = await self._pool.run(_CLOSING + b"\n" + request.encode(), caller)
        except GenirError:
            return None
        return None if result.failure is not None else decode_plan(result.body)


def refusal_of(failure: Failure, limits: SchemaLimits) -> SchemaRefusedError:
    """The refusal of a schema whose worker process failed."""
    if failure is Failure.CPU_TIME:
        return too_complex(
            "Preparing the schema takes too long", "probe_seconds", limits.probe_seconds
        )
    if failure is Failure.MEMORY:
        return too_complex(
            "Preparing the schema takes too much memory", "probe_bytes", limits.probe_bytes
        )
    stack_bytes = _stack_bytes(limits.probe_bytes)
    return SchemaRefusedError(
        Reason.SCHEMA_TOO_COMPLEX,
        "The schema is too complex: the process that prepares it crashed, most likely because it "
        f"ran out of stack, of which it has {stack_bytes} bytes",
        pointer="",
        limit="worker",
        max=str(stack_bytes),
    )


def _stack_bytes(memory_bytes: int) -> int:
    """The stack of a worker's child: limited as this process's is, and by the child's memory."""
    limit, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return memory_bytes if limit == resource.RLIM_INFINITY else min(limit, memory_bytes)


def _file_of(tokenizer: GrammarTokenizer) -> int:
    """A file in memory, which every worker inherits, however late it starts."""
    file = os.memfd_create("tokenizer")
    data = memoryview(tokenizer.encode())
    while data:
        data = data[os.write(file, data) :]
    return file


def _read(file: int) -> GrammarTokenizer:
    # Other workers share the position in the file, so it is not moved.
    try:
        return GrammarTokenizer.decode(os.pread(file, os.fstat(file).st_size, 0))
    finally:
        os.close(file)


def load_handler(settings: Mapping[str, object]) -> Handler:
    """The worker's side: loads the grammar engine and the tokenizer."""
    from genir_server.schema.grammar.guidance import load_tokenizer
    from genir_server.schema.pipeline import Pipeline

    sys.setrecursionlimit(_MAX_RECURSION)
    file = settings["tokenizer"]
    tokenizer = load_tokenizer(None if file is None else _read(cast("int", file)))
    limits = SchemaLimits(**cast("dict[str, Any]", settings["limits"]))
    pipeline = Pipeline(
        tokenizer,
        limits,
        NarrowingBounds(**cast("dict[str, Any]", settings["bounds"])),
        for_xgrammar=bool(settings["for_xgrammar"]),
    )

    def handle(body: bytes) -> bytes:
        kind, _, request = body.partition(b"\n")
        if kind == _CLOSING:
            seconds = _CLOSING_TIME_SHARE * limits.probe_seconds
            return plan_closing_in_worker(tokenizer, request, seconds)
        return analyse_in_worker(pipeline, body)

    def warm_up() -> None:
        analysis = pipeline.analyse(_WARM_UP_SCHEMA)
        encode_reply(analysis)
        source = VerifierSource(_WARM_UP_SCHEMA, Draft.DRAFT202012)
        text = '{"name":"a'
        written = WrittenText(analysis.engine_schema, text, tokenizer.tokenize_str(text))
        request = ClosingRequest(written, source, 99)
        plan_closing_in_worker(tokenizer, request.encode(), limits.probe_seconds)

    return Handler(handle=handle, warm_up=warm_up)


def plan_closing_in_worker(tokenizer: llguidance.LLTokenizer, body: bytes, seconds: float) -> bytes:
    """Plans how the value of a job ends."""
    from genir_server.schema.closing.plan import plan_closing
    from genir_server.schema.verify.verifier import SchemaVerifier

    request = ClosingRequest.decode(body)
    verifier = SchemaVerifier.of(request.source)
    try:
        plan = plan_closing(
            request.written,
            request.max_tokens,
            tokenizer=tokenizer,
            is_valid=lambda value: can_be_answered(value) and verifier.is_valid(value),
            seconds=seconds,
        )
    except RecursionError:
        plan = None
    return encode_plan(plan)


def analyse_in_worker(pipeline: Pipeline, body: bytes) -> bytes:
    """Analyses the schema of a job."""
    tightening, _, text = body.partition(b"\n")
    try:
        return encode_reply(pipeline.analyse(text.decode(), Tightening(int(tightening))))
    except SchemaRefusedError as refusal:
        return encode_reply(refusal)
    except RecursionError:
        return encode_reply(
            too_complex(
                "Preparing the schema nests function calls too deeply",
                "recursion",
                sys.getrecursionlimit(),
            )
        )
