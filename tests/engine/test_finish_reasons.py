"""Every reason for which vLLM ends a request is known."""

from __future__ import annotations

import pytest

from genir_server.domain.types import FinishReason
from genir_server.engine.vllm.convert import engine_delta
from genir_server.engine.vllm.environment import prepare_environment

pytestmark = pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers)")


def test_every_finish_reason_of_vllm_is_known() -> None:
    prepare_environment()

    from vllm.outputs import CompletionOutput, RequestOutput
    from vllm.v1.engine import FINISH_REASON_STRINGS

    known = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
    for reason in FINISH_REASON_STRINGS:
        completion = CompletionOutput(0, "{", [1], None, None, finish_reason=reason)
        output = RequestOutput("r", None, [1], None, [completion], finished=True)
        delta = engine_delta(output, queue_reported=False)
        assert delta.finish_reason is known.get(reason, FinishReason.ABORT)
