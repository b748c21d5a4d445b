"""An engine that writes random texts under the grammar, with single bytes as tokens."""

from __future__ import annotations

import codecs
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from genir_server.domain.types import FinishReason, TextDelta
from genir_server.engine.protocol import EngineRejectedError
from genir_server.schema.grammar.guidance import byte_tokenizer, compile_matcher
from tests.support.scripted_engine import Schemas, ScriptedEngine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from genir_server.engine.protocol import EngineRequest
    from genir_server.schema.types import ClosingPlan, PreparedSchema, WrittenText


class WeakModel(ScriptedEngine):
    """Ends nothing that it has begun by default, so that it reaches any budget.

    Args:
        seed: decides what it writes.
        can_resume: whether it continues texts.
        ends: how likely it is to write what ends a string, an array or an object where it may.
        ends_later: the same in a text that it continues; None for no difference.
    """

    def __init__(
        self,
        seed: int,
        *,
        can_resume: bool = True,
        ends: float = 0.0,
        ends_later: float | None = None,
    ) -> None:
        super().__init__(max_model_len=1 << 20)
        self.info = replace(self.info, can_resume=can_resume)
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret.
        self._ends = (ends, ends if ends_later is None else ends_later)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TextDelta, None]:
        self.requests.append(request)
        matcher = compile_matcher(byte_tokenizer(), request.schema)
        if matcher.is_error() or not matcher.consume_tokens(list(request.consumed)):
            raise EngineRejectedError("the grammar refuses it")
        ends = self._ends[bool(request.written_token_ids)]
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for number in range(1, request.max_tokens + 1):
            mask = matcher.compute_bitmask()
            allowed = [byte for byte in range(256) if mask[byte >> 3] >> (byte & 7) & 1]
            if not allowed or (matcher.is_accepting() and self._random.random() < ends):
                yield TextDelta("", 1, FinishReason.STOP, token_ids=(256,))
                return
            byte = self._choice(allowed, ends)
            assert matcher.consume_tokens([byte])
            last = number == request.max_tokens
            text = decoder.decode(bytes([byte]), final=last)
            yield TextDelta(text, 1, FinishReason.LENGTH if last else None, token_ids=(byte,))

    def _choice(self, allowed: list[int], ends: float) -> int:
        ending = [byte for byte in allowed if byte in b'"}]']
        going_on = [byte for byte in allowed if byte not in b'"}]']
        if not going_on or (ending and self._random.random() < ends):
            return self._random.choice(ending)
        return self._random.choice(going_on)


class PlanningSchemas(Schemas):
    """Plans closings in the test's own process."""

    def __init__(self, *schemas: PreparedSchema) -> None:
        super().__init__(*schemas)
        self.plans: list[ClosingPlan | None] = []

    async def plan_closing(
        self, schema: PreparedSchema, written: WrittenText, max_tokens: int, caller: str = ""
    ) -> ClosingPlan | None:
        from genir_server.domain.numbers import can_be_answered
        from genir_server.schema.closing.plan import plan_closing

        self.asked_by.append(caller)
        verifier = schema.verifier
        assert verifier is not None
        plan = plan_closing(
            written,
            max_tokens,
            tokenizer=byte_tokenizer(),
            is_valid=lambda value: can_be_answered(value) and verifier.is_valid(value),
            seconds=5.0,
        )
        self.plans.append(plan)
        return plan
