"""`genir generate`: generates one IR and writes it to stdout."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from genir._settings import DEFAULT_TIMEOUT
from genir.cli import connection
from genir.cli.console import exit_on_error, note, seconds, tokens, write_json
from genir.cli.escapes import one_line
from genir.cli.inputs import STDIN, prompt_text, schema_text
from genir.cli.progress import GenerationProgress, Spinner
from genir.types import IRResult, OnBudget, PromptFormat, SchemaInPrompt

_SAMPLING = "Sampling"
_REQUEST = "Request"


def generate(
    *,
    prompt: Annotated[
        str | None,
        typer.Argument(help="The prompt. Default, and with -: read from stdin."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Read the prompt from a file.", exists=True, dir_okay=False),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            help="File with the JSON Schema; - is stdin; or the JSON itself. Default: the built-in "
            "IR schema.",
            metavar="FILE",
        ),
    ] = None,
    schema_digest: Annotated[
        str | None,
        typer.Option(help="Digest of a schema that the server has cached.", metavar="sha256:HEX"),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="System message. Default: the server's own.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Maximum tokens per attempt. Default 2048, or what fits.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Write the text to stderr as the model writes it.")
    ] = False,
    raw_output: Annotated[
        bool,
        typer.Option("--raw-output", help="After a failure, write the model's text to stderr."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Write no progress and no timings to stderr.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Deadline of the call in seconds, retries included.", min=0.001)
    ] = DEFAULT_TIMEOUT,
    temperature: Annotated[
        float | None, typer.Option(help="0 to 2. Default 0.3.", rich_help_panel=_SAMPLING)
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Above 0 up to 1. Default 0.95.", rich_help_panel=_SAMPLING),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="0 (all) and up. Default 0.", rich_help_panel=_SAMPLING)
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="0 to 1. Default 0.", rich_help_panel=_SAMPLING)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="0 and up. Default: random.", rich_help_panel=_SAMPLING),
    ] = None,
    frequency_penalty: Annotated[
        float | None, typer.Option(help="-2 to 2. Default 0.", rich_help_panel=_SAMPLING)
    ] = None,
    presence_penalty: Annotated[
        float | None, typer.Option(help="-2 to 2. Default 0.", rich_help_panel=_SAMPLING)
    ] = None,
    repetition_penalty: Annotated[
        float | None,
        typer.Option(help="0.01 to 2. Default 1.", rich_help_panel=_SAMPLING),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of the model. Default: the served model.", rich_help_panel=_REQUEST
        ),
    ] = None,
    lora_adapter: Annotated[
        str | None,
        typer.Option(help="Name of a LoRA adapter. Default: none.", rich_help_panel=_REQUEST),
    ] = None,
    schema_in_prompt: Annotated[
        SchemaInPrompt | None,
        typer.Option(
            help="Whether to show the schema to the model. Default auto.", rich_help_panel=_REQUEST
        ),
    ] = None,
    prompt_format: Annotated[
        PromptFormat | None,
        typer.Option(
            help="Apply the chat template, or send the raw prompt. Default chat.",
            rich_help_panel=_REQUEST,
        ),
    ] = None,
    max_attempts: Annotated[
        int | None,
        typer.Option(
            help="Maximum attempts at a valid IR, 1 to 5. Default 2.", rich_help_panel=_REQUEST
        ),
    ] = None,
    on_budget: Annotated[
        OnBudget | None,
        typer.Option(
            help="When --max-tokens does not suffice: end the value early, or fail. Default close.",
            rich_help_panel=_REQUEST,
        ),
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(
            help="-1000 to 1000; lower numbers run first among your calls. Default 0.",
            rich_help_panel=_REQUEST,
        ),
    ] = None,
    request_id: Annotated[
        str | None,
        typer.Option(help="Id of the request in logs and errors.", rich_help_panel=_REQUEST),
    ] = None,
    target: connection.Target = connection.DEFAULT,
    tls: connection.Tls = False,
    ca: connection.Ca = None,
    cert: connection.Cert = None,
    key: connection.Key = None,
    token_file: connection.TokenFile = None,
    metadata: connection.Metadata = None,
) -> None:
    """Generate one IR: JSON that is valid against the schema.

    Only the IR goes to stdout: indented on a terminal, else as one line of canonical JSON.
    Progress and timings go to stderr.
    """
    if schema == STDIN and file is None and prompt in (None, STDIN):
        msg = "the prompt and the schema cannot both come from stdin"
        raise typer.BadParameter(msg)
    text = prompt_text(prompt, file)
    json_schema = None if schema is None else schema_text(schema)
    spinner = Spinner("connecting", visible=not quiet and not stream)
    progress = GenerationProgress(spinner, stream=stream)
    with (
        exit_on_error(raw_output=raw_output),
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
            events = client.stream(
                text,
                schema=json_schema,
                schema_digest=schema_digest,
                timeout=timeout,
                system=system,
                model=model,
                schema_in_prompt=schema_in_prompt,
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                min_p=min_p,
                seed=seed,
                frequency_penalty=frequency_penalty,
                presence_penalty=presence_penalty,
                repetition_penalty=repetition_penalty,
                max_tokens=max_tokens,
                priority=priority,
                max_attempts=max_attempts,
                on_budget=on_budget,
                lora_adapter=lora_adapter,
                prompt_format=prompt_format,
                request_id=request_id,
            )
        except (ValueError, OSError) as error:
            raise typer.BadParameter(str(error)) from error
        with events, spinner:
            try:
                for event in events:
                    progress(event)
            finally:
                progress.end_line()
        result = events.result()
    write_json(result.ir_json)
    if not quiet:
        _summarize(result)


def _summarize(result: IRResult[object]) -> None:
    timings = result.timings
    note(
        f"{result.model}, {result.structured_output_backend}: {tokens(result.usage)}; "
        f"queue {seconds(timings.queue)}, first token {seconds(timings.time_to_first_token)}, "
        f"total {seconds(timings.total)}; request id {result.request_id}"
    )
    if len(result.attempts) > 1:
        note(f"valid after {len(result.attempts)} attempts")
    if result.closed_early:
        place = one_line(result.closed_early[-1]) or "the root"
        note(f"ended early at {place}: max_tokens did not suffice, or the text repeated itself")
    notices = Counter((n.keyword, n.enforcement) for n in result.schema_notices)
    for (keyword, enforcement), count in notices.items():
        note(
            f"schema: {keyword} {enforcement.replace('_', ' ')}"
            + (f" ({count} times)" * (count > 1))
        )
