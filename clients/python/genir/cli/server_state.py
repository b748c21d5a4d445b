"""`genir health` and `genir warmup`: shows the server's state, and warms it up."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from genir._settings import DEFAULT_READY_TIMEOUT
from genir.cli import connection
from genir.cli.console import (
    exit_on_error,
    json_value,
    note,
    report,
    seconds,
    tokens,
    write_json,
)
from genir.cli.exit_codes import ExitCode
from genir.cli.inputs import STDIN, is_json, schema_text
from genir.cli.progress import Spinner, WaitProgress
from genir.cli.standard_health import has_no_service, show_probe
from genir.errors import GenirError
from genir.types import EngineRank, LoadProgress, SchemaCacheStats, ServerHealth, WarmedSchema

_HEALTH_TIMEOUT = 30.0


def health(
    *,
    wait_seconds: Annotated[
        float | None,
        typer.Argument(help="Maximum wait with --wait. Default 600.", metavar="SECONDS", min=0.001),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the server is ready, and show progress.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Run a short generation through the engine.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write the whole state as JSON; durations in seconds.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Deadline of the check itself in seconds.", min=0.001)
    ] = _HEALTH_TIMEOUT,
    target: connection.Target = connection.DEFAULT,
    tls: connection.Tls = False,
    ca: connection.Ca = None,
    cert: connection.Cert = None,
    key: connection.Key = None,
    token_file: connection.TokenFile = None,
    metadata: connection.Metadata = None,
) -> None:
    """Show the server's state. The exit code is 0 when it is ready and 3 when it is not.

    A lame duck accepts calls, but is not ready: the exit code is that of the readiness probe. At a
    server's --health-port only this probe is shown.
    """
    if wait_seconds is not None and not wait:
        msg = "SECONDS is the maximum wait and needs --wait"
        raise typer.BadParameter(msg)
    with (
        exit_on_error(),
        connection.connect(
            target,
            tls=tls,
            ca=ca,
            cert=cert,
            key=key,
            token_file=token_file,
            metadata=metadata,
        ) as client,
        Spinner("connecting", visible=wait) as spinner,
    ):
        max_wait = (wait_seconds or DEFAULT_READY_TIMEOUT) if wait else 0.0
        state: ServerHealth | None = None
        try:
            if wait:
                state = client.wait_ready(max_wait, on_progress=WaitProgress(spinner))
            if state is None or deep:
                state = client.health(deep=deep, timeout=timeout)
        except GenirError as error:
            if deep or not has_no_service(error):
                raise
            show_probe(client, spinner, seconds=max_wait, as_json=as_json)
            return
    if as_json:
        values = asdict(state) | {"advertised": state.advertised}
        write_json(json.dumps(values, default=json_value, ensure_ascii=False))
    else:
        report(*_description(state))
    if not state.advertised:
        raise typer.Exit(ExitCode.UNAVAILABLE)


def warmup(
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Generate again even if the engine is warm.")
    ] = False,
    schema: Annotated[
        list[str] | None,
        typer.Option(
            help="File with a JSON Schema to prepare; - is stdin; or the JSON itself. Repeatable, "
            "up to 64.",
            metavar="FILE",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Deadline in seconds, loading included.", min=0.001)
    ] = DEFAULT_READY_TIMEOUT,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Write no progress and no timings to stderr.")
    ] = False,
    target: connection.Target = connection.DEFAULT,
    tls: connection.Tls = False,
    ca: connection.Ca = None,
    cert: connection.Cert = None,
    key: connection.Key = None,
    token_file: connection.TokenFile = None,
    metadata: connection.Metadata = None,
) -> None:
    """Wait until the model is loaded, warm it up, and print the IR of the warm-up generation.

    The exit code is 2 when a schema cannot be used. The rest of the warm-up still takes place.
    """
    given = schema or []
    if given.count(STDIN) > 1:
        msg = "only one schema can come from stdin"
        raise typer.BadParameter(msg)
    schemas = [schema_text(each) for each in given]
    with (
        exit_on_error(),
        connection.connect(
            target,
            tls=tls,
            ca=ca,
            cert=cert,
            key=key,
            token_file=token_file,
            metadata=metadata,
        ) as client,
        Spinner("connecting", visible=not quiet) as spinner,
    ):
        client.wait_ready(timeout, on_progress=WaitProgress(spinner, quiet=quiet))
        spinner.show("warming up")
        try:
            result = client.warmup(force=force, schemas=schemas, timeout=timeout)
        except (ValueError, OSError) as error:
            raise typer.BadParameter(str(error)) from error
    write_json(result.ir_json)
    if not quiet:
        done = "already warm" if result.already_warm else "now warm"
        note(
            f"{result.model}, {result.structured_output_backend}, {done}: "
            f"this call took {seconds(result.elapsed)}, "
            f"the generation {seconds(result.generation_elapsed)}, {tokens(result.usage)}"
        )
    names = ["the schema" if is_json(each) else each for each in given]
    _report_schemas(names, result.schemas, quiet=quiet)


def _report_schemas(names: list[str], outcomes: tuple[WarmedSchema, ...], *, quiet: bool) -> None:
    for name, outcome in zip(names, outcomes, strict=False):
        if outcome.reason:
            note(f"error: {name}: {outcome.reason}: {outcome.message}", style="bold red")
        elif not quiet:
            note(f"{name} is prepared, digest {outcome.schema_digest}")
    if any(outcome.reason for outcome in outcomes):
        raise typer.Exit(ExitCode.INVALID)


def _description(state: ServerHealth) -> list[str]:
    versions = [f"{name} {value}" for name, value in asdict(state.versions).items() if value]
    activity = state.activity
    configured = f"{state.configured_structured_output_backend} (configured)"
    lines = {
        "ready": _readiness(state),
        "phase": f"{state.phase.replace('_', ' ')} for {seconds(state.phase_elapsed)}",
        "message": state.message,
        "loading": _loading(state.load_progress),
        "uptime": seconds(state.uptime),
        "model": state.model,
        "context": f"{state.max_model_len} tokens" if state.max_model_len else "",
        "adapters": ", ".join(state.lora_adapters),
        "backend": state.structured_output_backend or configured,
        "versions": ", ".join(versions),
        "activity": f"{activity.running} running, {activity.waiting} waiting, "
        f"{activity.calls_in_flight} calls in flight, last step {_moment(activity.last_step_time)}",
        "schemas": _schemas(state.schema_cache),
        "canary": seconds(state.canary_elapsed) if state.canary_elapsed is not None else "",
    }
    shown = [(name, value) for name, value in lines.items() if value]
    if len(state.engines) > 1:
        shown += [(f"rank {rank.rank}", _rank(rank)) for rank in state.engines]
    return [f"{name:<9} {value}" for name, value in shown]


def _loading(progress: LoadProgress | None) -> str:
    if progress is None or not progress.total:
        return ""
    share = progress.done / progress.total
    return f"{progress.stage}: {progress.done} of {progress.total} {progress.unit} ({share:.0%})"


def _rank(rank: EngineRank) -> str:
    return (
        f"{rank.running} running, {rank.waiting} waiting, last step "
        f"{_moment(rank.last_step_time)}, KV cache {rank.kv_cache_usage:.0%}, "
        f"backend {rank.structured_output_backend or 'not known yet'}"
    )


def _moment(step: datetime | None) -> str:
    return step.isoformat(timespec="seconds") if step else "none yet"


def _readiness(state: ServerHealth) -> str:
    if state.ready and state.lame_duck:
        return "no: a lame duck, which accepts calls that come nevertheless"
    return "yes" if state.advertised else "no"


def _schemas(stats: SchemaCacheStats | None) -> str:
    if stats is None:
        return ""
    return (
        f"{stats.entries} kept, {stats.hits} hits, {stats.misses} misses, "
        f"{sum(stats.refused.values())} refused, {stats.evictions} evicted"
    )
