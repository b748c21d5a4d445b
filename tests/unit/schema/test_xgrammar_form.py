"""Only what xgrammar does not enforce is removed, and no valid value is lost."""

from __future__ import annotations

import json
import string
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genir.schemas import builtin_ir_schema_text
from genir_server.domain.types import Enforcement
from genir_server.schema.grammar.guidance import load_tokenizer
from genir_server.schema.grammar.oracle import GrammarOracle
from genir_server.schema.grammar.xgrammar_form import xgrammar_form
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pipeline import Pipeline
from genir_server.schema.read.document import Document
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.relax import relax
from tests.support import strategies


def accepts(schema: Any, value: object) -> bool:
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True, offline=True).is_valid(
        value
    )


def refused_by_vllm(schema: dict[str, Any]) -> bool:
    from vllm.v1.structured_output.backend_xgrammar import has_xgrammar_unsupported_json_features

    return bool(has_xgrammar_unsupported_json_features(schema))


@pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers|xgrammar)")
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.schemas, st.lists(strategies.values, min_size=1, max_size=8))
def test_vllm_accepts_the_form_and_no_valid_value_is_lost(
    schema: Any, values: list[object]
) -> None:
    relaxed = relax(Document(schema, Draft.DRAFT202012), GrammarOracle()).schema
    if not isinstance(relaxed, dict):
        return
    written = json.loads(json.dumps(relaxed))
    form, notices = xgrammar_form(written, schema)
    assert written == json.loads(json.dumps(relaxed)), "the argument is not changed"
    assert not refused_by_vllm(form)
    for value in values:
        if accepts(written, value):
            assert accepts(form, value)
        elif not notices:
            assert not accepts(form, value)


@pytest.mark.filterwarnings("ignore:::(torch|vllm|transformers|xgrammar)")
def test_builtin_schema_keeps_all_constraints() -> None:
    builtin = json.loads(builtin_ir_schema_text())
    assert refused_by_vllm(builtin)
    form, notices = xgrammar_form(builtin, builtin)
    assert not refused_by_vllm(form)
    assert not notices


@given(
    st.text(string.ascii_letters + string.digits + "_-", max_size=8),
    st.integers(0, 3),
    st.integers(0, 6),
    st.sampled_from(
        [
            ("^[A-Za-z_][A-Za-z0-9_]*$", 1),
            ("^[a-z]+$", 1),
            ("^a[0-9]*$", 1),
            ("^[ab][ab][ab]+$", 3),
        ]
    ),
)
def test_length_becomes_part_of_a_simple_pattern(
    text: str, min_length: int, more: int, pattern: tuple[str, int]
) -> None:
    expression, shortest = pattern
    max_length = min_length + more
    schema: dict[str, object] = {"type": "string", "pattern": expression}
    schema |= {"minLength": min_length, "maxLength": max_length}
    form, notices = xgrammar_form(schema, schema)
    assert form.keys() == {"type", "pattern"}
    # Lengths that no text can have are left to the verifier.
    assert bool(notices) == (max_length < shortest)
    if not notices:
        assert accepts(form, text) == accepts(schema, text)


def test_removed_keywords_are_reported_with_their_pointers() -> None:
    schema: dict[str, object] = {
        "properties": {
            "tags": {"type": "array", "uniqueItems": True},
            "step": {"type": "integer", "multipleOf": 3},
            "word": {"type": "string", "pattern": "a|b", "maxLength": 4},
        }
    }
    form, notices = xgrammar_form(schema, schema)
    assert form == {
        "properties": {
            "tags": {"type": "array"},
            "step": {"type": "integer"},
            "word": {"type": "string", "pattern": "a|b"},
        }
    }
    assert {(notice.keyword, notice.pointer) for notice in notices} == {
        ("uniqueItems", "/properties/tags"),
        ("multipleOf", "/properties/step"),
        ("maxLength", "/properties/word"),
    }


def test_notices_of_checked_keywords_come_before_narrowed_ones() -> None:
    pipeline = Pipeline(load_tokenizer(None), SchemaLimits(), NarrowingBounds(), for_xgrammar=True)
    schema = {
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            "price": {"type": "integer", "minimum": 0, "multipleOf": 5},
        },
    }
    notices = pipeline.analyse(json.dumps(schema)).notices
    kinds = [notice.enforcement for notice in notices]
    # The first is not enforced by either engine, the second only by llguidance.
    checked = {
        notice.pointer
        for notice in notices
        if notice.enforcement is Enforcement.CHECKED_AFTER_DECODING
    }
    assert len(checked) == 2
    assert kinds == sorted(kinds, key=lambda kind: kind is Enforcement.NARROWED)
    assert Enforcement.NARROWED in kinds
