"""In which numbers the embedded model is computed on a CPU."""

from __future__ import annotations

import platform

_WITHOUT_BFLOAT16 = {"DEFAULT", "AVX2"}


def embedded_dtype() -> str:
    """Value for vLLM's ``dtype``: "auto", the model's own bfloat16, or "float32" if that is faster.

    oneDNN, which multiplies matrices for PyTorch, has bfloat16 kernels from AVX-512 on
    (https://uxlfoundation.github.io/oneDNN/dev_guide_data_types.html). Without them float32
    is faster, at reading a prompt above all. It takes twice the memory, which is little for this
    model; it may be much for an operator's own.
    """
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    slow = platform.machine() == "x86_64" and capability in _WITHOUT_BFLOAT16
    return "float32" if slow else "auto"
