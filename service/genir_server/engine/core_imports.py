"""What an engine core imports: loaded once by the process that cores are forked from.

What cannot be imported here is left to the process that needs it, which says what is wrong.
"""

from __future__ import annotations

import gc
import logging
import warnings
from contextlib import suppress

# Nobody has configured this process's log, and the server imports and says the same.
logging.disable()
with suppress(Exception), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import setproctitle

    # It looks for its place in memory the first time, and finds none once the environment has been
    # touched, which it is in every core.
    setproctitle.getproctitle()
    import vllm.v1.engine.core
    import vllm.v1.executor.multiproc_executor
    import vllm.v1.structured_output.backend_guidance  # noqa: F401

    import genir_server.engine.jump_forward_scheduler  # noqa: F401
logging.disable(logging.NOTSET)
# A collection would copy the pages that are shared with every core.
gc.collect()
gc.freeze()
