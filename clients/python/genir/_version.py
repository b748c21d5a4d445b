"""The version of this client."""

from __future__ import annotations

from importlib import metadata


def client_version() -> str:
    """The version of the installed package, or "unknown" when genir is not installed."""
    try:
        return metadata.version("genir")
    except metadata.PackageNotFoundError:
        return "unknown"
