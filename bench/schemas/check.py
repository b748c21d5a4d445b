"""Checks one schema's engine schema and verifier against the instances that come with it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import jsonschema_rs

from bench.schemas.guided import GuidedWriter
from bench.schemas.order import in_engine_order
from genir_server.schema import engine
from genir_server.schema.verifier import SchemaVerifier
from genir_server.schema.vocabulary import Draft

if TYPE_CHECKING:
    import llguidance

_MOST_TESTS = 40
_MOST_BYTES = 100_000


class InstanceChecker:
    """Checks instances with the engine's matcher over single bytes.

    Args:
        tokenizer: model folder whose tokenizer counts tokens; None for bytes.

    """

    def __init__(self, tokenizer: str | None) -> None:
        self._tokenizer: llguidance.LLTokenizer = engine.load_tokenizer(None)
        self._counter: llguidance.LLTokenizer = engine.load_tokenizer(tokenizer)

    def check(
        self, text: str, analysis: dict[str, object], tests: list[dict[str, object]]
    ) -> dict[str, object]:
        """What happens to the instances.

        Returns:
            ``valid`` and ``invalid``: how many there are; ``valid_lost``: those valid ones that
            verifier, relaxed schema or engine refuse, as a list of (index, who refused);
            ``invalid_passed``: indexes of those invalid ones that engine and verifier accept;
            ``overcounted``: indexes of valid ones that take fewer tokens than `min_tokens`;
            ``verify_seconds``: the time of each verification.

        """
        verifier = SchemaVerifier(text, Draft(int(str(analysis["draft"]))))
        relaxed_text = str(analysis["relaxed_schema"])
        relaxed_schema = json.loads(relaxed_text)
        relaxed = jsonschema_rs.Draft202012Validator(relaxed_schema, offline=True)
        result: dict[str, object] = {"valid": 0, "invalid": 0}
        lost: list[tuple[int, str]] = []
        passed: list[int] = []
        overcounted: list[int] = []
        seconds: list[float] = []
        matcher = engine.matcher(self._tokenizer, relaxed_text)
        for index, test in enumerate(tests[:_MOST_TESTS]):
            value = test.get("data", test.get("instance"))
            start = time.perf_counter()
            valid = verifier.is_valid(value)
            seconds.append(time.perf_counter() - start)
            if test["valid"]:
                result["valid"] = int(str(result["valid"])) + 1
                if not valid:
                    lost.append((index, "verifier"))
                elif self._overcounts(analysis, value, relaxed_schema):
                    overcounted.append(index)
                elif not relaxed.is_valid(value):
                    lost.append((index, "relaxed schema"))
                elif not self._accepts(matcher, value, relaxed_schema):
                    lost.append((index, "engine"))
            else:
                result["invalid"] = int(str(result["invalid"])) + 1
                if valid and self._accepts(matcher, value, relaxed_schema):
                    passed.append(index)
        return {
            **result,
            "valid_lost": lost,
            "invalid_passed": passed,
            "overcounted": overcounted,
            "verify_seconds": seconds,
        }

    def _overcounts(
        self, analysis: dict[str, object], value: object, schema: dict[str, object]
    ) -> bool:
        text = in_engine_order(value, schema)
        return len(self._counter.tokenize_str(text)) < int(str(analysis["min_tokens"]))

    def _accepts(
        self, matcher: llguidance.LLMatcher, value: object, schema: dict[str, object]
    ) -> bool:
        # Its own order is tried as well: which of several alternatives set the order is a guess.
        for order in (schema, {}):
            written = in_engine_order(value, order).encode()
            if len(written) > _MOST_BYTES:
                return True
            matcher.reset()
            accepted = matcher.try_consume_tokens(list(written)) == len(written)
            if accepted and matcher.is_accepting():
                return True
        return GuidedWriter(matcher).accepts(value)
