"""The verifier follows the standards where jsonschema-rs by itself does not."""

from __future__ import annotations

import json

import pytest

from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.verify.draft2019 import standard_form
from genir_server.schema.verify.verifier import SchemaVerifier

ONE = {"const": 1}
MODERN = [draft for draft in Draft if draft >= Draft.DRAFT7]


def fullwidth(text: str) -> str:
    return "".join(chr(ord(letter) + 0xFEE0) for letter in text)


def a_label(text: str) -> str:
    return "xn--" + text.encode("punycode").decode()


def is_valid(schema: object, draft: Draft, value: object) -> bool:
    return SchemaVerifier(json.dumps(schema), draft).is_valid(value)


@pytest.mark.parametrize("draft", list(Draft))
@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("example.com", True),
        ("EXAMPLE.com", True),
        ("exämple.com", True),
        ("faß.de", True),
        ("παράδειγμα.com", True),
        ("例え。com", True),
        (f"{a_label('exämple')}.com", True),
        # What IDNA2008 allows nowhere, even if a browser would map it to something else.
        (f"{fullwidth('example')}.com", False),
        ("Exämple.com", False),
        ("Ärger.de", False),
        ("ﬁsch.de", False),
        ("x².de", False),
        ("①.de", False),
        ("a\u00adb.de", False),
        ("a\u200bb.de", False),
        ("e\u0301.de", False),
        ("☃.net", False),
        (f"{a_label(fullwidth('ex'))}.com", False),
        (f"{a_label('Ä')}.de", False),
        ("ä" * 64, False),
        ("a" * 300, False),
    ],
)
def test_idn_hostname_is_that_of_idna_2008(name: str, valid: bool, draft: Draft) -> None:
    assert is_valid({"format": "idn-hostname"}, draft, name) is valid


@pytest.mark.parametrize("text", [fullwidth("ex"), "Ä", "ﬁsch", "①"])
def test_hostname_has_valid_a_labels_from_draft_7_on(text: str) -> None:
    name = f"www.{a_label(text)}.com"
    assert not any(is_valid({"format": "hostname"}, draft, name) for draft in MODERN)
    assert all(is_valid({"format": "hostname"}, draft, f"{a_label('ä')}.de") for draft in MODERN)
    # RFC 1034 alone knows no A-labels.
    assert is_valid({"format": "hostname"}, Draft.DRAFT4, name)
    assert is_valid({"format": "hostname"}, Draft.DRAFT6, name)


COUNTED_ONLY_LATER: list[tuple[dict[str, object], object]] = [
    ({"contains": ONE, "unevaluatedItems": False}, [1]),
    ({"contains": ONE, "unevaluatedItems": {"type": "string"}}, ["a", 1]),
    ({"allOf": [{"contains": ONE}], "unevaluatedItems": False}, [1, 1]),
    ({"anyOf": [{"contains": ONE}], "unevaluatedItems": False}, [1]),
    ({"if": {"contains": ONE}, "unevaluatedItems": False}, [1]),
    ({"$ref": "#/$defs/c", "$defs": {"c": {"contains": ONE}}, "unevaluatedItems": False}, [1]),
    ({"contains": ONE, "minContains": 0, "unevaluatedItems": False}, [1]),
    ({"allOf": [True], "contains": ONE, "unevaluatedItems": False}, [1]),
    ({"items": {"contains": ONE, "unevaluatedItems": False}}, [[1]]),
    (
        {"properties": {"contains": {"contains": ONE, "unevaluatedItems": False}}},
        {"contains": [1]},
    ),
]


@pytest.mark.parametrize(("schema", "value"), COUNTED_ONLY_LATER)
def test_contains_counts_for_unevaluated_items_only_since_2020(
    schema: dict[str, object], value: object
) -> None:
    assert not is_valid(schema, Draft.DRAFT201909, value)
    assert is_valid(schema, Draft.DRAFT202012, value)


@pytest.mark.parametrize(
    ("value", "valid"),
    [([1], True), ([1, 2], True), ([1, 1, 1], False), ([2], False), ([], False), ("text", True)],
)
def test_moved_contains_keeps_its_meaning(value: object, valid: bool) -> None:
    schema = {"contains": ONE, "maxContains": 2, "unevaluatedItems": True}
    assert is_valid(schema, Draft.DRAFT201909, value) is valid


def test_violation_of_a_moved_contains_names_the_caller_s_place() -> None:
    schema: dict[str, object] = {
        "properties": {"a": {"allOf": [True], "contains": ONE, "unevaluatedItems": True}}
    }
    (violation,) = SchemaVerifier(schema, Draft.DRAFT201909).violations({"a": [2]})
    assert violation.schema_pointer == "/properties/a/contains"
    assert violation.instance_pointer == "/a"
    assert violation.keyword == "contains"
    assert violation.message == "contains is not satisfied by [2]"


@pytest.mark.parametrize(
    "schema",
    [
        {"contains": ONE},
        {"unevaluatedItems": False},
        {"const": {"contains": ONE}, "unevaluatedItems": False},
        {"properties": {"contains": True}, "unevaluatedItems": False},
        {"properties": {"contains": ONE, "unevaluatedItems": False}},
        True,
    ],
)
def test_other_schemas_stay_as_they_are(schema: dict[str, object] | bool) -> None:
    form, moved = standard_form(schema)
    assert form is schema
    assert not moved


@pytest.mark.parametrize("draft", [Draft.DRAFT6, Draft.DRAFT7])
def test_identifier_beside_a_reference_is_ignored_up_to_draft_7(draft: Draft) -> None:
    schema = {
        "$id": "http://example.com/base/",
        "definitions": {
            "other": {"$id": "http://example.com/target.json", "type": "string"},
            "target": {"$id": "target.json", "type": "number"},
        },
        "allOf": [{"$id": "http://example.com/", "$ref": "target.json"}],
    }
    assert is_valid(schema, draft, 1)
    assert not is_valid(schema, draft, "text")
