"""The version of the installed package."""

from __future__ import annotations

from importlib import metadata

try:
    __version__ = metadata.version("genir")
except metadata.PackageNotFoundError:  # It runs from a source folder, without installation.
    __version__ = "unknown"
