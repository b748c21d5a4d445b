"""What a report says about the machine."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import psutil

from genir_server.observability.versions import installed_versions

_QUERY = "name,memory.total,driver_version"
_SECONDS = 60


def machine_rows() -> list[tuple[str, str]]:
    """Name and value of each line of the table."""
    packages = ", ".join(f"{name} {found}" for name, found in installed_versions().items() if found)
    return [
        ("GPUs", "; ".join(gpus()) or "none found"),
        ("processor", f"{_processor()}, {psutil.cpu_count()} cores"),
        ("memory", f"{psutil.virtual_memory().total / 2**30:.0f} GiB"),
        ("system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}"),
        ("packages", packages),
        ("load before", f"{psutil.getloadavg()[0]:.1f}"),
    ]


def gpus() -> list[str]:
    """Name, memory and driver of each GPU, from nvidia-smi. Empty if there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    done = subprocess.run(
        [program, f"--query-gpu={_QUERY}", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())
