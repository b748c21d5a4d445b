"""The worked example of docs/architecture.md is what the schema package does."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

from genir_server.schema.checks.lint import lint
from genir_server.schema.grammar.guidance import compile_matcher, load_tokenizer
from genir_server.schema.limits import NarrowingBounds, SchemaLimits
from genir_server.schema.pipeline import Pipeline
from genir_server.schema.read import drafts, reader
from genir_server.schema.read.document import Document
from genir_server.schema.verify.verifier import SchemaVerifier

PAGE = Path(__file__).parents[3] / "docs" / "architecture.md"
SECTION = PAGE.read_text().partition("## One schema through the schema package")[2]


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", SECTION, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(body) for _, body in found]


CALLER, RELAXED, NARROWED, INSTANCE = blocks("json")
NODES, NOTICES = (block.splitlines() for block in blocks("text"))


def test_document_and_measurements_are_as_described() -> None:
    schema = reader.read(CALLER, SchemaLimits())
    draft = drafts.detect(schema)
    assert f"passes:\n   {draft.label}." in SECTION
    document = Document(schema, draft)
    assert [pointer or "(root)" for pointer in document.nodes] == NODES
    measured = lint(document, SchemaLimits())
    described = dict(re.findall(r"`(\w+)` (\d+)", SECTION.partition("4. **Checks**")[2]))
    assert described == {name: str(measured[name]) for name in described}
    assert len(described) == 4


def test_relaxed_and_narrowed_schemas_are_as_shown() -> None:
    analysis = Pipeline(load_tokenizer(None), SchemaLimits(), NarrowingBounds()).analyse(CALLER)
    assert json.loads(analysis.relaxed_schema) == json.loads(RELAXED)
    assert json.loads(analysis.engine_schema) == json.loads(NARROWED)
    assert analysis.minimal_instance is not None
    assert json.loads(analysis.minimal_instance) == json.loads(INSTANCE)
    assert f"lower bound: {analysis.min_tokens} with" in SECTION
    assert analysis.verifier_bytes is not None
    notices = [f"{notice.enforcement.name} {notice.pointer}" for notice in analysis.notices]
    assert notices == NOTICES


def test_value_of_the_last_step_passes_decoding_and_fails_verification() -> None:
    found = re.search(r"`(\{\"name\": \"a\".*?\})`", SECTION)
    assert found is not None
    value = json.loads(found[1])
    in_order = {name: value[name] for name in ("name", "site", "size")}
    text = json.dumps(in_order, separators=(",", ":")).encode()
    matcher = compile_matcher(load_tokenizer(None), NARROWED)
    assert matcher.try_consume_tokens(list(text)) == len(text)
    assert matcher.is_accepting()
    schema = reader.read(CALLER, SchemaLimits())
    (violation,) = SchemaVerifier(CALLER, drafts.detect(schema)).violations(value)
    assert violation.schema_pointer == "/properties/site/format"
