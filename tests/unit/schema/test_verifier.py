from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import pytest

from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.verify.isolated import GuardedVerifier, Verification
from genir_server.schema.verify.verifier import SchemaVerifier
from tests.support.schema_host import NAME, elsewhere

if TYPE_CHECKING:
    from pathlib import Path


def test_violations_say_where_and_what() -> None:
    verifier = SchemaVerifier(
        {"properties": {"a/b": {"items": {"maxLength": 2}}}, "required": ["c"]},
        Draft.DRAFT202012,
    )
    found = {violation.keyword: violation for violation in verifier.violations({"a/b": ["xyz"]})}
    assert found["maxLength"].instance_pointer == "/a~1b/0"
    assert found["maxLength"].schema_pointer == "/properties/a~1b/items/maxLength"
    assert found["required"].instance_pointer == ""
    assert '"c"' in found["required"].message


def test_a_valid_value_has_no_violations() -> None:
    verifier = SchemaVerifier(json.dumps({"type": "string"}), Draft.DRAFT7)
    assert verifier.violations("text") == []


def test_messages_and_their_number_are_bounded() -> None:
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
def test_every_known_format_is_asserted_in_every_draft(
    draft: Draft, name: str, good: str, bad: str
) -> None:
    verifier = SchemaVerifier({"format": name}, draft)
    assert verifier.violations(good) == []
    assert [violation.keyword for violation in verifier.violations(bad)] == ["format"]
    assert verifier.violations(5) == []


def test_nothing_is_fetched(tmp_path: Path) -> None:
    """A server that would give a schema is not asked, and a file that has one is not used."""
    with elsewhere(tmp_path) as there:
        for folder in there.folders():
            schemas: list[dict[str, object]] = [
                {"$ref": f"{folder}{NAME}"},
                {"$id": f"{folder}root.json", "$ref": NAME},
                {"properties": {"a": {"$dynamicRef": f"{folder}{NAME}"}}},
            ]
            for schema in schemas:
                with pytest.raises(ValueError, match=re.escape(NAME)):
                    SchemaVerifier(schema, Draft.DRAFT202012)
        there.prove_that_it_is_there(tmp_path)


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
def test_expressions_that_go_back_for_ever_come_to_an_end(pattern: str) -> None:
    verifier = SchemaVerifier({"pattern": pattern}, Draft.DRAFT202012)
    start = time.monotonic()
    verifier.violations("a" * 20_000 + "!")
    assert time.monotonic() - start < 5.0


EXPLOSIVE = json.dumps(
    {
        "$ref": "#/$defs/n",
        "$defs": {
            "n": {
                "anyOf": [
                    {"properties": {"a": {"$ref": "#/$defs/n"}}, "required": [name]}
                    for name in ("y", "z")
                ]
            }
        },
    }
)


def nested(depth: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def test_checking_that_never_ends_is_ended() -> None:
    verification = Verification(seconds=0.5)
    verifier = GuardedVerifier(verification, EXPLOSIVE, Draft.DRAFT202012)
    assert verifier.violations({"y": 1}) == []
    (violation,) = verifier.violations(nested(60))
    assert "too long" in violation.message
    # And the next one is checked as if nothing had been.
    assert [found.keyword for found in verifier.violations({})] == ["anyOf"]
    verification.close()
    verification.close()
