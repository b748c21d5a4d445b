"""Model folders that are made once and then shared by every process of a user."""

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
    """Where models are kept: ``GENIR_CACHE_DIR``, else ``genir`` in the user's cache folder."""
    if own := os.environ.get("GENIR_CACHE_DIR"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "genir"
    return Path.home() / ".cache" / "genir"


def make_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Gives `folder`, which `build` fills if it is not there yet.

    `build` gets an empty folder beside it, which takes the final name only once it is complete, so
    that a process that is killed halfway leaves nothing that looks like a model. Of several
    processes that ask at once, one builds and the others wait. Blocks.

    Raises:
        OSError: the cache folder cannot be written.

    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():
            return folder
        for left_behind in folder.parent.glob(f".{folder.name}.making-*"):
            shutil.rmtree(left_behind, ignore_errors=True)
        making = Path(tempfile.mkdtemp(prefix=f".{folder.name}.making-", dir=folder.parent))
        try:
            build(making)
            # mkdtemp gives a folder that only its owner may enter, and safetensors files that only
            # their owner may read; a cache may be shared, and an image runs as another user.
            for file in making.rglob("*"):
                file.chmod(0o755 if file.is_dir() else 0o644)
            making.chmod(0o755)
            making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return folder
