"""A faster start on CPUs, turned off by ``--no-fork-engine``.

vLLM is imported three times before an engine is ready, each time for many seconds on one core: by
the server, by the engine core's process, and by its worker's. This package avoids the last two:

1. `fork_server` starts Python's fork server beside the server's own import of vLLM. It imports
   `preload` and with it vLLM.
2. vLLM's engine core is forked from the fork server (`fork_server.fork_engine_core`).
3. The engine core forks its worker (`forked_worker`), provided that the fork server's environment
   is the one that vLLM gives a worker (`worker_environment`).

Nothing outside this package does any of it. Where a step is not possible, vLLM starts the process
in its own way.
"""
