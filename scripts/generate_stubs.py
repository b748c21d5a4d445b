"""Generates the Python code of the contract, or checks that what is there is up to date.

``make proto`` runs it without arguments, ``make lint`` with ``--check``.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROTOS = ROOT / "proto"
PACKAGE = Path("genir/v1")
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def generate(target: Path) -> None:
    """Writes the generated modules below `target`."""
    messages = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    services = [name for name in messages if "\nservice " in (PROTOS / name).read_text()]
    _protoc(messages, f"--python_out={target}", f"--mypy_out=quiet:{target}")
    _protoc(services, f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}")


def _protoc(protos: list[str], *outputs: str) -> None:
    # protoc looks for its plugins (mypy-protobuf) on PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *outputs, *protos]
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})


def generated_files(folder: Path) -> set[str]:
    """The names of the generated modules in a folder."""
    return {path.name for pattern in GENERATED for path in folder.glob(pattern)}


def drifted(committed: Path, fresh: Path) -> list[str]:
    """The names of modules that differ, are missing, or should not be there."""
    names = generated_files(committed) | generated_files(fresh)
    _, different, missing = filecmp.cmpfiles(committed, fresh, names, shallow=False)
    return sorted(different + missing)


def main() -> int:
    """Runs the program; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if out of date")
    check = parser.parse_args().check
    clients = ROOT / "clients/python"
    if not check:
        for name in generated_files(clients / PACKAGE):
            (clients / PACKAGE / name).unlink()
        generate(clients)
        return 0
    with tempfile.TemporaryDirectory(prefix="genir-stubs-") as folder:
        generate(Path(folder))
        names = drifted(clients / PACKAGE, Path(folder) / PACKAGE)
    for name in names:
        sys.stderr.write(f"{PACKAGE / name} does not match the contract: run make proto\n")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
