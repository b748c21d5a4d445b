"""The worker extension: vLLM loads it in each of its workers on a CPU (`worker_extension_cls`)."""

from __future__ import annotations

from vllm.platforms import current_platform

from genir_server.engine.patches.seeded_sampling import repair_seeded_sampling
from genir_server.engine.patches.top_p import sample_without_sorting
from genir_server.patch_table.fits import outcomes


class WorkerExtension:
    """Loading this module applies the patches; the class adds one method to vLLM's worker."""

    def genir_patch_outcomes(self) -> dict[str, str]:
        """What `fits.outcomes` gives in this worker."""
        return outcomes()


if current_platform.is_cpu():
    repair_seeded_sampling()
    sample_without_sorting()
