"""The patches for vLLM, one file each.

Why each exists, what it touches and when it can be removed is in `genir_server.patch_table`.
"""

WORKER_EXTENSION = "genir_server.engine.patches.worker_extension.WorkerExtension"
"""The class that vLLM loads in its workers on a CPU, unless the operator names another."""
