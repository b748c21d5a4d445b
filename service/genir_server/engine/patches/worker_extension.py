"""What vLLM loads, by name, in each of its workers on a CPU: its setting `worker_extension_cls`."""

from __future__ import annotations

from vllm.platforms import current_platform

from genir_server.engine.patches.seeded_sampling import repair_seeded_sampling
from genir_server.engine.patches.top_p import sample_without_sorting


class WorkerExtension:
    """Adds nothing to vLLM's worker: what is done is done when this module is loaded."""


if current_platform.is_cpu():
    repair_seeded_sampling()
    sample_without_sorting()
