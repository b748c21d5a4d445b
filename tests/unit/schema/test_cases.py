"""Small cases, most of them after public reports of other projects, see their `source`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.schemas.check import InstanceChecker
from bench.schemas.corpus import Instance
from bench.schemas.guided import GuidanceAcceptor, GuidedWriter
from genir_server.domain.types import Enforcement
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.grammar.guidance import compile_matcher, load_tokenizer
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pipeline import Pipeline
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.verify.verifier import SchemaVerifier

LINES = (Path(__file__).parent / "cases.jsonl").read_text().strip().split("\n")
CASES = [json.loads(line) for line in LINES]
ACCEPTED = [case for case in CASES if case["expect"] == "accepted"]
REFUSED = [case for case in CASES if case["expect"] != "accepted"]

# A busy machine must not decide.
TOKENIZER = load_tokenizer(None)
PIPELINE = Pipeline(TOKENIZER, SchemaLimits(compile_seconds=60, mask_seconds=60), NarrowingBounds())
CHECKER = InstanceChecker(None)


def name(case: dict[str, Any]) -> str:
    return str(case["id"])


def text_of(case: dict[str, Any]) -> str:
    """The schema's text. A few cases are about the text itself."""
    schema = case["schema"]
    return schema if isinstance(schema, str) else json.dumps(schema)


@pytest.mark.parametrize("case", ACCEPTED, ids=name)
def test_valid_instances_can_be_written_and_invalid_ones_never_pass(case: dict[str, Any]) -> None:
    text = text_of(case)
    analysis = PIPELINE.analyse(text)
    instances = [Instance(value, valid=True) for value in case["valid"]]
    instances += [Instance(value, valid=False) for value in case["invalid"]]
    outcomes = CHECKER.check(text, analysis, instances)
    assert (outcomes["valid"], outcomes["invalid"]) == (len(case["valid"]), len(case["invalid"]))
    verifier = SchemaVerifier(analysis.verifier_schema or text, Draft(analysis.draft))
    assert not any(map(verifier.is_valid, case["invalid"]))
    assert outcomes["valid_lost"] == outcomes["invalid_passed"] == outcomes["untested"] == []
    # With its bounds on the output the engine still writes something that is valid.
    acceptor = GuidanceAcceptor(compile_matcher(TOKENIZER, analysis.engine_schema))
    assert any(map(GuidedWriter(acceptor).accepts, case["valid"])) or analysis.minimal_instance
    annotations = {n.pointer for n in analysis.notices if n.enforcement is Enforcement.ANNOTATION}
    assert annotations >= set(case.get("notices", ()))


@pytest.mark.parametrize("case", REFUSED, ids=name)
def test_schema_is_refused_at_its_place(case: dict[str, Any]) -> None:
    with pytest.raises(SchemaRefusedError) as caught:
        PIPELINE.analyse(text_of(case))
    assert caught.value.reason.value == case["expect"]
    assert caught.value.metadata.get("pointer") == case.get("pointer")
