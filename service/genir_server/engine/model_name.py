"""Tells folders from names of models, and gives the name that callers see."""

from __future__ import annotations

import os
import re
from pathlib import Path

_UNNAMED = "model"
_HUB_CACHE_FOLDER = re.compile("models--(?P<owner>.+?)--(?P<name>.+)")
_SNAPSHOTS = "snapshots"


def is_folder(model: str) -> bool:
    """Whether `model` means a local folder or file, which may be missing.

    Others are names: ``name`` or ``owner/name`` on a hub, or a URL of an object store.
    """
    if "://" in model:
        return False
    return Path(model).exists() or model.startswith(("/", ".", "~")) or model.count("/") > 1


def public_name(model: str) -> str:
    """The name of a model for callers. A path is never shown: it tells how a machine is laid out.

    >>> public_name("/srv/models/qwen-7b/")
    'qwen-7b'
    >>> public_name("Qwen/Qwen2.5-7B-Instruct")
    'Qwen/Qwen2.5-7B-Instruct'
    >>> public_name("s3://bucket/models/qwen-7b/")
    'qwen-7b'
    """
    if "://" in model:
        address = model.partition("://")[2].partition("?")[0]
        return address.rstrip("/").rpartition("/")[2] or _UNNAMED
    if not is_folder(model):
        return model
    # Not resolved: a link `current` is what the operator calls the model.
    path = Path(os.path.normpath(Path.cwd() / Path(model).expanduser()))
    if path.parent.name == _SNAPSHOTS and (
        cached := _HUB_CACHE_FOLDER.fullmatch(path.parent.parent.name)
    ):
        # In the cache of the Hugging Face Hub a model's folder has the name of a commit.
        return f"{cached['owner']}/{cached['name']}"
    return path.name or _UNNAMED
