"""Calls a server with grpcurl."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.support.server_process import ServerProcess


GRPCURL = shutil.which("grpcurl", path=str(Path(sys.executable).parent)) or shutil.which("grpcurl")


def grpcurl(server: ServerProcess, *arguments: str, data: object = None) -> str:
    assert GRPCURL is not None, "grpcurl comes with requirements/dev.txt"
    command = [GRPCURL, "-plaintext"]
    if data is not None:
        command += ["-d", json.dumps(data)]
    done = subprocess.run(
        [*command, server.target, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout
