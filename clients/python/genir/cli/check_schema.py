"""`genir check-schema`: checks whether and how well a schema can be enforced."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from genir._settings import DEFAULT_TIMEOUT
from genir.cli import connection
from genir.cli.console import exit_on_error, json_value, note, report, write_json
from genir.cli.inputs import schema_text
from genir.types import SchemaCheck, SchemaCoverage, SchemaLimit

_COVERAGE = {
    SchemaCoverage.EXACT: "exact: decoding enforces all of it",
    SchemaCoverage.CHECKED: "checked: verification checks some of it after decoding",
}
_NEAR = 0.5


def check_schema(
    *,
    file: Annotated[
        str | None,
        typer.Argument(
            help="File with the JSON Schema; - is stdin; or the JSON itself. Default: the built-in "
            "IR schema."
        ),
    ] = None,
    schema_digest: Annotated[
        str | None,
        typer.Option(help="Digest of a schema that the server has cached.", metavar="sha256:HEX"),
    ] = None,
    engine_schema: Annotated[
        bool, typer.Option("--engine-schema", help="Also show the schema that decoding enforces.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON even to a terminal; durations in seconds.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Write no report to stderr beside the JSON.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Deadline of the call in seconds, retries included.", min=0.001)
    ] = DEFAULT_TIMEOUT,
    target: connection.Target = connection.DEFAULT,
    tls: connection.Tls = False,
    ca: connection.Ca = None,
    cert: connection.Cert = None,
    key: connection.Key = None,
    token_file: connection.TokenFile = None,
    metadata: connection.Metadata = None,
) -> None:
    """Check whether and how well a schema can be enforced, without generating.

    A terminal gets a report. Otherwise stdout gets JSON and stderr the report. The exit code is 2
    when the schema cannot be used.
    """
    text = None if file is None else schema_text(file)
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
    ):
        try:
            check = client.check_schema(
                text,
                schema_digest=schema_digest,
                include_engine_schema=engine_schema,
                timeout=timeout,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    if sys.stdout.isatty() and not as_json:
        report(*_report(check))
        if check.engine_schema:
            write_json(check.engine_schema)
        return
    write_json(json.dumps(asdict(check), default=json_value, ensure_ascii=False))
    if not quiet:
        note(*_report(check), style="")


def _report(check: SchemaCheck) -> Iterator[str]:
    yield f"schema    {check.schema_digest}, draft {check.draft}"
    yield f"coverage  {_COVERAGE.get(check.coverage, check.coverage)}"
    for notice in check.schema_notices:
        detail = f": {notice.detail}" if notice.detail else ""
        done = notice.enforcement.replace("_", " ")
        yield f"  {done}: {notice.keyword} at {notice.pointer or 'the root'}{detail}"
    cached = "; cached before" if check.cached else ""
    yield (
        f"prepared  in {_milliseconds(check.prepare_elapsed.total_seconds())}, "
        f"{_milliseconds(check.compile_elapsed.total_seconds())} of it to compile; slowest mask "
        f"{_milliseconds(check.max_mask_elapsed.total_seconds())}{cached}"
    )
    near = [_limit(limit) for limit in check.limits if _is_near(limit)]
    yield f"limits    {', '.join(near) or 'all below half'}"
    yield f"prompt    the schema is shown: {check.schema_shown.replace('_', ' ')}"
    enough = f"; {check.closable_tokens} are always enough" if check.closable_tokens else ""
    yield f"tokens    {check.min_tokens} or more for any valid value{enough}"
    yield f"smallest  {check.minimal_instance or 'none found'}"


def _is_near(limit: SchemaLimit) -> bool:
    return limit.value is not None and limit.value >= _NEAR * limit.max


def _limit(limit: SchemaLimit) -> str:
    return f"{limit.name} is {limit.value:g} of {limit.max:g}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
