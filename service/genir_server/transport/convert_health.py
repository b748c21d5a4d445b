"""The state of the server and the outcome of a warm-up as protobuf messages. Pure functions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from genir.v1 import ir_service_pb2 as service
from genir.v1 import status_pb2 as status
from genir_server.domain.errors import GenirError
from genir_server.engine.protocol import LoadStage
from genir_server.supervision.lifecycle import Phase
from genir_server.transport.convert import duration, error_reason, usage_to_proto
from genir_server.transport.convert_schema import (
    schema_statistics_to_proto,
    warmed_schema_to_proto,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from genir_server.admission import Admission
    from genir_server.core.self_test import SelfTestResult
    from genir_server.engine.protocol import Engine
    from genir_server.schema.types import PreparedSchema
    from genir_server.supervision.lifecycle import Lifecycle

_PHASES = {
    Phase.STARTING: status.PHASE_STARTING,
    Phase.LOADING_MODEL: status.PHASE_LOADING_MODEL,
    Phase.WARMING_UP: status.PHASE_WARMING_UP,
    Phase.READY: status.PHASE_READY,
    Phase.RESTARTING: status.PHASE_RESTARTING,
    Phase.DRAINING: status.PHASE_DRAINING,
    Phase.FAILED: status.PHASE_FAILED,
}

_STAGES = {
    LoadStage.WEIGHTS: status.LOAD_STAGE_WEIGHTS,
    LoadStage.COMPILATION: status.LOAD_STAGE_COMPILATION,
    LoadStage.GRAPHS: status.LOAD_STAGE_GRAPHS,
}


def health_to_proto(
    lifecycle: Lifecycle,
    admission: Admission,
    *,
    model: str,
    configured_backend: str,
    versions: Mapping[str, str],
    canary: SelfTestResult | GenirError | None = None,
) -> service.HealthResponse:
    """How the server is.

    Args:
        lifecycle: the phase, and the engine once there is one.
        admission: counts the calls in flight and in the queue.
        model: name of the model, known before the engine is up.
        configured_backend: the structured-output backend that the operator set.
        versions: version numbers by the names of `genir.v1.Versions`.
        canary: the outcome of a deep check; None for a shallow one.
    """
    now = time.monotonic()
    response = service.HealthResponse(
        phase=_PHASES[lifecycle.phase],
        ready=lifecycle.ready,
        phase_elapsed=duration(now - lifecycle.phase_began_at),
        uptime=duration(now - lifecycle.started_at),
        message=lifecycle.message,
        lame_duck=lifecycle.lame_duck,
        model=model,
        configured_structured_output_backend=configured_backend,
        versions=status.Versions(**versions),
        activity=status.EngineActivity(calls_in_flight=admission.in_flight),
    )
    if lifecycle.load_progress is not None:
        progress = lifecycle.load_progress
        response.load_progress.CopyFrom(
            status.LoadProgress(
                stage=_STAGES[progress.stage],
                done=progress.done,
                total=progress.total,
                unit=progress.unit,
            )
        )
    if lifecycle.schema_checker is not None:
        statistics = lifecycle.schema_checker.statistics
        response.schema_cache.CopyFrom(schema_statistics_to_proto(statistics))
    if lifecycle.engine is not None:
        _add_engine(response, lifecycle.engine, admission.queued)
    match canary:
        case None:
            pass
        case GenirError():
            response.message = f"The canary generation failed: {canary.message}"
            response.canary_failure = error_reason(canary)
        case _:
            response.ir_json = canary.completed.ir_json
            response.canary_elapsed.CopyFrom(duration(canary.elapsed))
    return response


def warmup_to_proto(
    warm_up: SelfTestResult,
    schemas: Sequence[PreparedSchema | GenirError],
    *,
    already_warm: bool,
    elapsed: float,
    request_id: str,
) -> service.WarmupResponse:
    """The answer to a warm-up.

    Args:
        warm_up: the warm-up generation.
        schemas: the outcome for each schema of the request.
        already_warm: whether the generation ran before this call.
        elapsed: seconds that this call took.
        request_id: the request id of this call.
    """
    completed = warm_up.completed
    return service.WarmupResponse(
        ir_json=completed.ir_json,
        already_warm=already_warm,
        elapsed=duration(elapsed),
        generation_elapsed=duration(warm_up.elapsed),
        model=completed.model,
        structured_output_backend=completed.structured_output_backend,
        schema_digest=completed.schema_digest,
        usage=usage_to_proto(completed.usage),
        request_id=request_id,
        schemas=map(warmed_schema_to_proto, schemas),
    )


def _add_engine(response: service.HealthResponse, engine: Engine, waiting: int) -> None:
    activity = engine.activity()
    response.structured_output_backend = engine.effective_backend
    response.lora_adapters.extend(engine.info.lora_adapters)
    response.max_model_len = engine.info.max_model_len
    response.resumes = engine.info.can_resume
    response.activity.running = activity.running
    response.activity.waiting = activity.waiting + waiting
    _set_time(response.activity, activity.last_step_time)
    for each in activity.ranks:
        rank = response.engines.add(
            rank=each.rank,
            running=each.running,
            waiting=each.waiting,
            kv_cache_usage=each.kv_cache_usage,
            structured_output_backend=each.backend,
        )
        _set_time(rank, each.last_step_time)


def _set_time(message: status.EngineActivity | status.EngineRank, step: float | None) -> None:
    if step is not None:
        message.last_step_time.FromNanoseconds(round(step * 1e9))
