from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import pytest

from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.verify.verifier import SchemaVerifier
from tests.support.schema_host import NAME, schema_host

if TYPE_CHECKING:
    from pathlib import Path


def test_violations_have_pointers_keyword_and_message() -> None:
    verifier = SchemaVerifier(
        {"properties": {"a/b": {"items": {"maxLength": 2}}}, "required": ["c"]},
        Draft.DRAFT202012,
    )
    found = {violation.keyword: violation for violation in verifier.violations({"a/b": ["xyz"]})}
    assert found["maxLength"].instance_pointer == "/a~1b/0"
    assert found["maxLength"].schema_pointer == "/properties/a~1b/items/maxLength"
    assert found["required"].instance_pointer == ""
    assert '"c"' in found["required"].message


def test_valid_value_has_no_violations() -> None:
    verifier = SchemaVerifier(json.dumps({"type": "string"}), Draft.DRAFT7)
    assert verifier.violations("text") == []


def test_number_and_length_of_violations_are_bounded() -> None:
    verifier = SchemaVerifier({"items": {"enum": ["x" * 1_000]}}, Draft.DRAFT202012)
    found = verifier.violations(["y" * 1_000] * 1_000)
    assert len(found) == 50
    assert max(len(violation.message) for violation in found) <= 200


@pytest.mark.parametrize("draft", list(Draft))
@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
        ("iri", "http://example.com/ж", "not an iri"),
        ("date-time", "2026-01-02T03:04:05Z", "2026-13-02T03:04:05Z"),
        ("email", "a@example.com", "a"),
        ("duration", "P1D", "one day"),
        ("json-pointer", "/a/b", "a"),
    ],
)
def test_known_formats_are_asserted_in_every_draft(
    draft: Draft, name: str, good: str, bad: str
) -> None:
    verifier = SchemaVerifier({"format": name}, draft)
    assert verifier.violations(good) == []
    assert [violation.keyword for violation in verifier.violations(bad)] == ["format"]
    assert verifier.violations(5) == []


def test_references_are_never_fetched(tmp_path: Path) -> None:
    """Neither a server nor a file that has the schema is read."""
    with schema_host(tmp_path) as host:
        for folder in host.folders():
            schemas: list[dict[str, object]] = [
                {"$ref": f"{folder}{NAME}"},
                {"$id": f"{folder}root.json", "$ref": NAME},
                {"properties": {"a": {"$dynamicRef": f"{folder}{NAME}"}}},
            ]
            for schema in schemas:
                with pytest.raises(ValueError, match=re.escape(NAME)):
                    SchemaVerifier(schema, Draft.DRAFT202012)
        host.assert_reachable(tmp_path)


@pytest.mark.parametrize(
    "pattern",
    [
        "^(a|aa)+$",
        "^(a+a+)+b$",
        "^(?=(a+)+b)c",
        "^(?!.*(a+)+b)c",
        r"(a*)*\1b",
        "^(([a-z])+.)+[A-Z]+$",
    ],
)
def test_catastrophic_patterns_end_in_time(pattern: str) -> None:
    verifier = SchemaVerifier({"pattern": pattern}, Draft.DRAFT202012)
    start = time.monotonic()
    verifier.violations("a" * 20_000 + "!")
    assert time.monotonic() - start < 5.0
