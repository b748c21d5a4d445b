"""Shows genir at work: starts a server, waits for it, warms it up, generates twice, stops it.

Run by ``make demo``. A line that begins with ``$`` is the command that runs; what follows is what
it prints. The server takes a free port, so it disturbs no other one.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

PROJECT = Path(__file__).parents[1]
GENIR = Path(sys.executable).with_name("genir")
TRIAGE = "examples/schemas/triage.schema.json"
# A model this small copies from a schema that it is shown instead of answering.
OPTIONS = ("--temperature", "0", "--schema-in-prompt", "never")
COMMANDS = (
    ("health", "--wait"),
    ("warmup",),
    (
        "generate",
        "Describe a function that reads a CSV file and returns its rows as a list of dictionaries.",
        "--stream",
        *OPTIONS,
    ),
    (
        "generate",
        "Bug report: the editor crashes with a null pointer when I save a file twice in a row.",
        "--schema",
        TRIAGE,
        *OPTIONS,
    ),
)
PORT_SECONDS = 30.0
STOP_SECONDS = 60.0

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Runs the demo. Returns the server's exit code, or 1 if a command failed."""
    with tempfile.TemporaryDirectory(prefix="genir-demo-") as folder:
        log = Path(folder) / "server.log"
        port_file = Path(folder) / "port"
        began = time.monotonic()
        _show_command("genir serve --port 0 &")
        with log.open("wb") as log_file:
            server = subprocess.Popen(
                [GENIR, "serve", "--port", "0", "--port-file", port_file],
                stdout=log_file,
                stderr=log_file,
                # Ctrl-C reaches this program alone, which then stops the server.
                start_new_session=True,
            )
        try:
            target = f"127.0.0.1:{_wait_for_port(port_file, server)}"
            print(f"# listening on {target} after {time.monotonic() - began:.1f} s", flush=True)
            _show_command(f"export GENIR_TARGET={target}")
            for command in COMMANDS:
                _run(command, target)
        except BaseException:
            console.print("[red]The demo failed. The last lines of the server's log:[/]")
            console.print("\n".join(log.read_text().splitlines()[-20:]), markup=False)
            raise
        finally:
            server.terminate()
            code = server.wait(STOP_SECONDS)
        print(f"# the server stopped with exit code {code}")
        return code


def _run(arguments: tuple[str, ...], target: str) -> None:
    """Runs one `genir` command and shows what it prints; raises if it fails."""
    _show_command(shlex.join(("genir", *arguments)))
    environment = {**os.environ, "GENIR_TARGET": target}
    # One stream, so that a pipe keeps the order in which the command wrote.
    output = None if sys.stdout.isatty() else subprocess.STDOUT
    subprocess.run([GENIR, *arguments], env=environment, cwd=PROJECT, stderr=output, check=True)


def _show_command(command: str) -> None:
    console.print(f"$ {command}", style="bold", markup=False)
    sys.stdout.flush()


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
