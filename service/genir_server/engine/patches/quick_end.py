"""Spares the engine's processes on a CPU a search for garbage when they end.

When its engine core or a worker ends, vLLM makes the garbage collector search everything that the
process has loaded, which takes about a second each, one after the other. The kernel takes back all
memory of a process that ends anyway. On accelerators the search drops graphs, for which vLLM's
communicators wait when they end.
"""

from __future__ import annotations

import gc
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any

from genir_server.patch_table.fits import applies

if TYPE_CHECKING:
    from collections.abc import Callable

_ENDED = (
    ("vllm.v1.engine.core", "EngineCore"),
    ("vllm.v1.executor.multiproc_executor", "WorkerProc"),
)


def end_without_garbage_collection() -> None:
    """Makes an engine core or a worker on a CPU end without a search, in its own process.

    Such a process has imported its class. In any other it does nothing.
    """
    classes = [
        getattr(sys.modules[module], name) for module, name in _ENDED if module in sys.modules
    ]
    if not classes:
        return
    from vllm.platforms import current_platform

    if current_platform.is_cpu() and applies("quick end"):
        for ended in classes:
            ended.shutdown = without_search(ended.shutdown)


def without_search(shutdown: Callable[[Any], None]) -> Callable[[Any], None]:
    """A method that ends a process, with all objects frozen before vLLM has them searched.

    Args:
        shutdown: vLLM's method.
    """

    @wraps(shutdown)
    def quick(self: Any) -> None:  # noqa: ANN401 - an object of vLLM.
        # vLLM thaws all objects first. Frozen ones are not searched.
        gc.unfreeze = gc.freeze
        gc.freeze()
        shutdown(self)

    return quick
