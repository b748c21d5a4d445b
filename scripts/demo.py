"""Shows the whole of genir at work: starts a server, waits, warms up, generates, stops.

Run by ``make demo``. The server takes a free port and leaves others alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from genir import Completed, IRClient, TextDelta

if TYPE_CHECKING:
    from genir.types import IRResult, ServerHealth

PROMPT = "Describe a function that reads a CSV file and returns its rows as a list of dictionaries."
OWN_PROMPT = "Bug report: the editor crashes with a null pointer when I save a file twice in a row."
OWN_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "minLength": 10, "maxLength": 80},
        "kind": {"enum": ["bug", "feature", "question"]},
        "severity": {"type": "integer", "minimum": 1, "maximum": 5},
        "component": {"type": "string", "pattern": "^[a-z_]{3,20}$"},
        "reproducible": {"type": "boolean"},
    },
    "required": ["title", "kind", "severity", "component", "reproducible"],
    "additionalProperties": False,
}
PORT_SECONDS = 30.0
READY_SECONDS = 600.0
STOP_SECONDS = 60.0

console = Console(highlight=False)


def main() -> int:
    """Runs the demo; gives the exit code."""
    with tempfile.TemporaryDirectory(prefix="genir-demo-") as folder:
        log = Path(folder) / "server.log"
        port_file = Path(folder) / "port"
        console.print("[bold]$ genir serve --port 0[/]")
        began = time.monotonic()
        with log.open("wb") as log_file:
            server = subprocess.Popen(
                [sys.executable, "-m", "genir_server", "--port", "0", "--port-file", port_file],
                stdout=log_file,
                stderr=log_file,
                # Ctrl-C is for this program, which then stops the server in good order.
                start_new_session=True,
            )
        try:
            target = f"127.0.0.1:{_wait_for_port(port_file, server)}"
            console.print(f"listening on {target} after {time.monotonic() - began:.1f} s")
            with IRClient(target) as client:
                _show(client, server)
        except BaseException:
            console.print("[red]The demo failed. The last lines of the server's log:[/]")
            console.print("\n".join(log.read_text().splitlines()[-20:]), markup=False)
            raise
        finally:
            server.terminate()
            code = server.wait(STOP_SECONDS)
        console.print(f"server stopped with exit code {code}")
        return code


def _show(client: IRClient, server: subprocess.Popen[bytes]) -> None:
    with console.status("starting") as status:
        shown: list[str] = []

        def show_phase(health: ServerHealth | None) -> None:
            if server.poll() is not None:
                raise RuntimeError(f"the server ended with exit code {server.returncode}")
            if health is None:
                return
            phase = health.phase.value.replace("_", " ")
            if console.is_terminal:
                status.update(f"{phase}, {health.uptime.total_seconds():.0f} s")
            elif phase not in shown:
                # Nothing spins in a file or a pipe: a line for each phase instead.
                shown.append(phase)
                console.print(f"{phase} since {health.uptime.total_seconds():.0f} s")

        health = client.wait_ready(READY_SECONDS, on_progress=show_phase)
    console.print(
        f"ready after {health.uptime.total_seconds():.1f} s: {health.model} on vLLM "
        f"{health.versions.vllm}, {health.structured_output_backend} backend "
        f"(llguidance {health.versions.llguidance})"
    )
    console.print("\n[bold]$ genir warmup[/]")
    warmup = client.warmup()
    console.print(
        f"{'already warm' if warmup.already_warm else 'warmed up'} in "
        f"{warmup.elapsed.total_seconds():.3f} s; the warm-up itself took "
        f"{warmup.generation_elapsed.total_seconds():.1f} s for "
        f"{warmup.usage.completion_tokens} tokens"
    )
    _generate(client, PROMPT, None)
    _generate(client, OWN_PROMPT, OWN_SCHEMA)


def _generate(client: IRClient, prompt: str, schema: dict[str, Any] | None) -> None:
    own = "" if schema is None else "--schema triage.schema.json "
    command = f"genir generate --stream --temperature 0 --schema-in-prompt never {own}"
    console.print(f"\n[bold]$ {command}{json.dumps(prompt)}[/]", soft_wrap=True)
    result: IRResult[Any] | None = None
    with client.stream(
        # So small a model copies from a schema that it is shown instead of answering.
        prompt,
        schema=schema,
        temperature=0,
        schema_in_prompt="never",
    ) as events:
        for event in events:
            if isinstance(event, TextDelta):
                console.out(event.text, style="dim", end="")
            elif isinstance(event, Completed):
                result = event.result
    if result is None:
        raise RuntimeError("the stream ended without a result")
    console.print("\n\nir_json, verified and in normal form:")
    console.print_json(result.ir_json)
    timings = result.timings
    console.print(
        f"{result.usage.completion_tokens} tokens after {result.usage.prompt_tokens} of prompt; "
        f"first after {timings.time_to_first_token.total_seconds():.2f} s, "
        f"all after {timings.total.total_seconds():.2f} s"
    )


def _wait_for_port(port_file: Path, server: subprocess.Popen[bytes]) -> int:
    began = time.monotonic()
    while time.monotonic() - began < PORT_SECONDS and server.poll() is None:
        text = port_file.read_text() if port_file.exists() else ""
        if text.endswith("\n"):
            return int(text)
        time.sleep(0.05)
    raise RuntimeError("the server did not open its port")


if __name__ == "__main__":
    sys.exit(main())
