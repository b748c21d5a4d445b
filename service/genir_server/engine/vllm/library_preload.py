"""Reads torch's and vLLM's shared libraries into memory before they are imported.

Importing an extension module maps its libraries, hundreds of megabytes for torch, while holding the
interpreter lock. With a cold disk that takes tens of seconds, in which the server could not answer
a liveness probe. Reading the files first takes as long, but leaves the lock to other threads.
"""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from pathlib import Path

_CHUNK_BYTES = 1 << 20
_PACKAGES = ("torch", "vllm")


def preload_libraries() -> None:
    """Reads the libraries into the page cache. Blocks, without the interpreter lock."""
    buffer = bytearray(_CHUNK_BYTES)
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for library in sorted([*Path(folder).glob("*.so"), *Path(folder).glob("lib/*.so*")]):
                # If a file cannot be read, the import will report the cause.
                with suppress(OSError), library.open("rb", buffering=0) as file:
                    while file.readinto(buffer):
                        pass
