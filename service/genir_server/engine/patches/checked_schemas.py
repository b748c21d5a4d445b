"""Skips vLLM's validation of schemas that genir has already compiled.

genir compiles a schema in a worker process, with time and memory limits, before anything else. For
each request vLLM would compile it again, in the server's process, only to validate it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from genir_server.patch_table.fits import applies, outcomes

if TYPE_CHECKING:
    from vllm.sampling_params import StructuredOutputsParams

logger = logging.getLogger(__name__)

_MARK = "genir_checked"


def mark_checked(params: StructuredOutputsParams) -> None:
    """Marks a request's schema as compiled before. The mark does not leave this process."""
    setattr(params, _MARK, True)


def skip_checked_schemas() -> None:
    """Makes vLLM's validation skip marked schemas. Applies to the server's process."""
    from vllm.v1.structured_output import backend_guidance

    validate = backend_guidance.validate_guidance_grammar
    if getattr(validate, _MARK, False):
        return
    if not applies("schema check"):
        logger.warning("vLLM validates each schema once more: %s", outcomes()["schema check"])
        return

    def validate_unmarked(sampling_params: Any, tokenizer: Any = None) -> None:  # noqa: ANN401
        if not getattr(sampling_params.structured_outputs, _MARK, False):
            validate(sampling_params, tokenizer)

    setattr(validate_unmarked, _MARK, True)
    backend_guidance.validate_guidance_grammar = validate_unmarked
