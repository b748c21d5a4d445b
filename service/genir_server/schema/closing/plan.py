"""Plans how a half-written value ends within a budget of tokens.

The plan keeps as much of the text as it can: it goes back from the end until what is kept and the
closing text fit. `ClosingPlan.text` is what the answer then begins with. Generation continues after
it under the closing schema. If that also reaches the budget, the smallest closing text ends the
value, and it is known to be valid.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.schema.closing.alternatives import EngineSchema, UnreadableSchemaError
from genir_server.schema.closing.closed import NotClosableError
from genir_server.schema.closing.closing_schema import ClosingSchema, closing_schema
from genir_server.schema.closing.position import NoValueError, Position, read_position
from genir_server.schema.closing.smallest_text import is_value, matcher_for, smallest_text
from genir_server.schema.closing.tokens import Tokens, tokens_of
from genir_server.schema.grammar.guidance import byte_tokenizer, compile_matcher
from genir_server.schema.grammar.oracle import GrammarOracle
from genir_server.schema.read import pointer
from genir_server.schema.types import ClosingPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    import llguidance

    from genir_server.schema.types import WrittenText

_MAX_TRIES = 12
_MAX_SECONDS = 1.0
_MAX_NAMES = 100
# All pointers to open values together: with each level they grow by the ones above.
_MAX_POINTER_CHARACTERS = 16_384
_CLOSERS = {True: ord("}"), False: ord("]")}
_COMMA = ord(",")


@dataclass(frozen=True, slots=True)
class _Check:
    """Which values are valid, and the processor time of this thread at which searching stops."""

    is_valid: Callable[[object], bool]
    deadline: float


def plan_closing(
    written: WrittenText,
    max_tokens: int,
    *,
    tokenizer: llguidance.LLTokenizer,
    is_valid: Callable[[object], bool],
    seconds: float = _MAX_SECONDS,
) -> ClosingPlan | None:
    """How a half-written value ends within a budget; None if no end is found.

    Args:
        written: what the model wrote.
        max_tokens: the budget of the whole value.
        tokenizer: the model's.
        is_valid: whether a parsed value is valid for the caller's own schema.
        seconds: processor time after which the search stops.

    """
    deadline = time.thread_time() + seconds
    try:
        tokens = Tokens.of(written, tokenizer)
        planner = _Planner(written.engine_schema, tokens, tokenizer, _Check(is_valid, deadline))
    except ValueError:
        return None
    kept = len(tokens.ids) if written.max_kept is None else written.max_kept
    return _latest(planner, min(kept, len(tokens.ids)), max_tokens)


def _latest(planner: _Planner, tokens: int, max_tokens: int) -> ClosingPlan | None:
    """The plan that keeps most among those that fit, as far as a few tries tell."""
    at = min(tokens, max_tokens)
    fitting, not_fitting = -1, at + 1
    best: ClosingPlan | None = None
    tight: ClosingPlan | None = None
    step = 1
    for tried in range(1, _MAX_TRIES + 1):
        plan = planner.plan(at)
        missing = 1 if plan is None else plan.total_tokens + plan.reserve - max_tokens
        if plan is not None and missing <= 0:
            best, fitting = plan, at
        else:
            not_fitting = at
            if plan is not None and plan.total_tokens <= max_tokens:
                tight = tight or plan
        if fitting >= 0:
            at = (fitting + not_fitting) // 2
        elif tried == _MAX_TRIES - 1:
            at = 0
        else:
            step = max(step, missing)
            at = at - step if step < at else at // 2
            step *= 2
        if at in (fitting, not_fitting) or planner.is_late:
            break
    return best or tight


class _Planner:
    """Plans for one text.

    Raises:
        ValueError: the engine's grammar refuses the schema or the text.

    """

    def __init__(
        self,
        engine_schema: str,
        tokens: Tokens,
        tokenizer: llguidance.LLTokenizer,
        check: _Check,
    ) -> None:
        self._tokens = tokens
        self._tokenizer = tokenizer
        self._check = check
        self._engine = EngineSchema(engine_schema, GrammarOracle().matches, check.deadline)
        self._bytes = byte_tokenizer()
        self._matcher = compile_matcher(self._bytes, engine_schema)
        if self._matcher.is_error():
            raise ValueError(self._matcher.get_error())
        self._names = _required_names(engine_schema)
        self._known: dict[int, ClosingPlan | None] = {}

    @property
    def is_late(self) -> bool:
        """Whether the time is over."""
        return time.thread_time() > self._check.deadline

    def plan(self, tokens: int) -> ClosingPlan | None:
        """The plan that keeps at most so many tokens; None if there is none."""
        try:
            position = read_position(self._tokens.text_of(tokens))
        except NoValueError:
            return None
        if position.kept not in self._known:
            self._known[position.kept] = self._plan(position)
        return self._known[position.kept]

    def _plan(self, position: Position) -> ClosingPlan | None:
        kept = position.kept
        closed_early = _open_pointers(position)
        matcher = self._matcher.deep_copy()
        if not matcher.consume_tokens(list(self._tokens.text[:kept])):
            return None
        appended = _close(matcher, position)
        if appended is None:
            return None
        text = self._tokens.text[:kept] + appended
        closing: ClosingSchema | None = None
        smallest: str | None = ""
        if not position.is_complete:
            closing, smallest = self._end(matcher, position, text)
        elif not is_value(text, self._check.is_valid):
            return None
        if smallest is None:
            return None
        whole = self._tokens.count_within(kept)
        rest = text[len(self._tokens.text_of(whole)) :]
        return ClosingPlan(
            kept_bytes=kept,
            appended=appended.decode(),
            closing_schema=None if closing is None else closing.text,
            residual="" if closing is None else closing.residual.decode(),
            smallest=smallest,
            token_ids=(*self._tokens.ids[:whole], *self._tokenize(rest)),
            kept_tokens=whole,
            total_tokens=whole + len(self._tokenize(rest + smallest.encode())),
            closed_early=closed_early,
        )

    def _end(
        self, matcher: llguidance.LLMatcher, position: Position, text: bytes
    ) -> tuple[ClosingSchema | None, str | None]:
        """The closing schema, and the smallest closing text."""
        found: list[tuple[ClosingSchema, llguidance.LLMatcher]] = []
        for cheapest in (True, False):
            try:
                closing = closing_schema(self._engine, position, text, cheapest=cheapest)
            except (NotClosableError, UnreadableSchemaError):
                break
            consumed = matcher_for(self._bytes, closing)
            if consumed is not None:
                found.append((closing, consumed))
        ending = smallest_text(
            text,
            [(closing.residual, consumed) for closing, consumed in found],
            matcher,
            names=self._names,
            is_valid=self._check.is_valid,
            deadline=self._check.deadline,
        )
        if ending is None:
            return None, None
        smallest, by_closing_schema = ending
        # Where that gives no valid value, a keyword that only verification checks excludes them.
        return (found[-1][0] if by_closing_schema else None), smallest

    def _tokenize(self, text: bytes) -> list[int]:
        return tokens_of(text, self._tokenizer)


def _close(matcher: llguidance.LLMatcher, position: Position) -> bytes | None:
    """Closes the containers that need no more.

    Returns:
        What was appended, a comma at the end if more is needed; None if nothing may follow.

    """
    appended = bytearray()
    frames = position.frames
    while frames and position.scalar is None:
        frame = frames[-1]
        closer = _CLOSERS[frame.is_object]
        if not matcher.validate_tokens([closer]):
            if not frame.value:
                break
            appended.append(_COMMA)
            return bytes(appended) if matcher.consume_tokens([_COMMA]) else None
        matcher.consume_tokens([closer])
        appended.append(closer)
        frames.pop()
        if frames:
            frames[-1].add(frame.value)
        else:
            position.is_complete = True
    return bytes(appended)


def _open_pointers(position: Position) -> tuple[str, ...]:
    tokens = [frame.token for frame in position.frames]
    is_open = position.scalar is not None
    inner = tokens if is_open else tokens[:-1]
    found = [""] if position.frames or is_open else []
    size = 0
    for token in inner:
        if token is not None:
            deeper = pointer.child(found[-1], token)
            size += len(deeper)
            if size > _MAX_POINTER_CHARACTERS:
                break
            found.append(deeper)
    return tuple(found)


def _required_names(engine_schema: str) -> list[bytes]:
    """Names that any part of a schema requires, as JSON with the colon."""
    names: dict[str, None] = {}
    pending: list[object] = [json.loads(engine_schema)]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            required = item.get("required")
            if isinstance(required, list):
                names.update((name, None) for name in required if isinstance(name, str))
            pending.extend(item.values())
    return [
        f"{json.dumps(name, ensure_ascii=False)}:".encode() for name in list(names)[:_MAX_NAMES]
    ]
