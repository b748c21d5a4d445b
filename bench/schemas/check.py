"""Checks one schema's engine schema and verifier against the instances that come with it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import jsonschema_rs

from bench.schemas.guided import GuidanceAcceptor, GuidedWriter
from bench.schemas.order import as_written, in_engine_order
from genir_server.core.normalize import NotNormalizableError, normalize, parse_strict
from genir_server.schema.grammar.guidance import compile_matcher, load_tokenizer
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.verify.verifier import SchemaVerifier

if TYPE_CHECKING:
    from collections.abc import Iterable

    import llguidance

    from bench.schemas.corpus import Instance
    from bench.schemas.rows import Row
    from genir_server.domain.grammar_tokenizer import GrammarTokenizer
    from genir_server.schema.analysis import Analysis

MAX_INSTANCES = 40
"""Maximum number of instances checked for one schema."""

MAX_INSTANCE_BYTES = 100_000
"""Maximum size of an instance that is tried on an engine."""


@dataclass(slots=True)
class Outcomes:
    """Outcomes of one schema's instances. Lists hold their indexes.

    Attributes:
        valid: number labelled valid.
        invalid: number labelled invalid.
        valid_lost: valid ones that are refused, and what refuses them.
        invalid_passed: invalid ones that nothing refuses.
        without_normal_form: valid ones that no answer can hold, such as 2^60.
        untested: ones that were not tried on the engine, or not completely.
        overcounted: valid ones that take fewer tokens than the estimated minimum.
        verify_seconds: time of each verification.
        normalize_seconds: time of each strict parse and conversion to normal form.

    """

    valid: int = 0
    invalid: int = 0
    valid_lost: list[tuple[int, str]] = field(default_factory=list)
    invalid_passed: list[int] = field(default_factory=list)
    without_normal_form: list[int] = field(default_factory=list)
    untested: list[int] = field(default_factory=list)
    overcounted: list[int] = field(default_factory=list)
    verify_seconds: list[float] = field(default_factory=list)
    normalize_seconds: list[float] = field(default_factory=list)


class InstanceChecker:
    """Checks instances as an answer is checked, and with the engine's matcher over bytes.

    Args:
        tokenizer: counts tokens; None for bytes.

    """

    def __init__(self, tokenizer: GrammarTokenizer | None) -> None:
        self._tokenizer: llguidance.LLTokenizer = load_tokenizer(None)
        self._counter: llguidance.LLTokenizer = load_tokenizer(tokenizer)

    def check(self, text: str, analysis: Analysis, instances: Iterable[Instance]) -> Row:
        """Outcomes of the instances under a schema's analysis, as the fields of `Outcomes`."""
        subject = _Subject(text, analysis, self._tokenizer)
        outcomes = Outcomes()
        for index, instance in enumerate(instances):
            if index == MAX_INSTANCES:
                break
            if instance.valid:
                outcomes.valid += 1
                self._valid(index, instance.value, subject, outcomes)
            else:
                outcomes.invalid += 1
                self._invalid(index, as_written(instance.value), subject, outcomes)
        return asdict(outcomes)

    def _valid(self, index: int, value: object, subject: _Subject, outcomes: Outcomes) -> None:
        answer = _answer(value, outcomes)
        if answer is None:
            outcomes.without_normal_form.append(index)
        if not subject.verifies(value if answer is None else answer[0], outcomes):
            outcomes.valid_lost.append((index, "verifier"))
        elif not subject.relaxed.is_valid(value):
            outcomes.valid_lost.append((index, "relaxed schema"))
        elif (accepted := subject.accepts(value)) is None:
            outcomes.untested.append(index)
        elif not accepted:
            outcomes.valid_lost.append((index, "engine"))
        else:
            written = in_engine_order(value, subject.relaxed_schema)
            if len(self._counter.tokenize_str(written)) < subject.min_tokens:
                outcomes.overcounted.append(index)

    def _invalid(self, index: int, value: object, subject: _Subject, outcomes: Outcomes) -> None:
        answer = _answer(value, outcomes)
        if answer is None or not subject.verifies(answer[0], outcomes):
            return
        # The verifier accepts it, so the engine must be tried as well.
        if subject.accepts(value) is not False:
            outcomes.invalid_passed.append(index)


class _Subject:
    """A prepared schema with everything that accepts or refuses a value."""

    def __init__(self, text: str, analysis: Analysis, tokenizer: llguidance.LLTokenizer) -> None:
        relaxed_text = analysis.relaxed_schema
        self._verifier = SchemaVerifier(analysis.verifier_schema or text, Draft(analysis.draft))
        self.min_tokens = analysis.min_tokens
        self.relaxed_schema: Row = json.loads(relaxed_text)
        self.relaxed = jsonschema_rs.Draft202012Validator(self.relaxed_schema, offline=True)
        self._acceptor = GuidanceAcceptor(compile_matcher(tokenizer, relaxed_text))

    def verifies(self, value: object, outcomes: Outcomes) -> bool:
        start = time.perf_counter()
        valid = self._verifier.is_valid(value)
        outcomes.verify_seconds.append(time.perf_counter() - start)
        return valid

    def accepts(self, value: object) -> bool | None:
        """Whether the engine accepts a value with some order of its keys. None if undecided."""
        # Try its own order as well, because which alternative sets the order is a guess.
        for order in (self.relaxed_schema, {}):
            written = in_engine_order(value, order).encode()
            if len(written) > MAX_INSTANCE_BYTES:
                return None
            self._acceptor.reset()
            if self._acceptor.take(written) >= 0 and self._acceptor.complete():
                return True
        writer = GuidedWriter(self._acceptor)
        accepted = writer.accepts(value)
        return None if writer.gave_up else accepted


def _answer(value: object, outcomes: Outcomes) -> tuple[object] | None:
    """A value in normal form and parsed again, as in an answer."""
    text = json.dumps(value, ensure_ascii=False)
    start = time.perf_counter()
    try:
        answer = parse_strict(normalize(parse_strict(text)))
    except NotNormalizableError:
        return None
    outcomes.normalize_seconds.append(time.perf_counter() - start)
    return (answer,)
