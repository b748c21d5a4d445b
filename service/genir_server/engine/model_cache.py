"""The cache folder, and model folders in it that are built once for all processes of a user."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable


def cache_folder() -> Path:
    """The folder for models: ``GENIR_CACHE_DIR``, else ``genir`` in the user's cache folder."""
    if own := os.environ.get("GENIR_CACHE_DIR"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "genir"
    return Path.home() / ".cache" / "genir"


def make_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Returns `folder`, and has `build` fill it first if it does not exist.

    `build` receives an empty temporary folder beside it, which is renamed once it is complete. So a
    process that is killed halfway leaves nothing that looks like a model. If several processes call
    this at once, one builds and the others wait. Blocks.

    Raises:
        OSError: the cache folder cannot be written.

    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():
            return folder
        for leftover in folder.parent.glob(f".{folder.name}.making-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        making = Path(tempfile.mkdtemp(prefix=f".{folder.name}.making-", dir=folder.parent))
        try:
            build(making)
            # mkdtemp and safetensors grant access to the owner only. A cache may be shared, and a
            # container image runs as another user.
            for file in making.rglob("*"):
                file.chmod(0o755 if file.is_dir() else 0o644)
            making.chmod(0o755)
            making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return folder
