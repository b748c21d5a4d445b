from __future__ import annotations

import json

from genir_server.schema.prompt_text import shown

SCHEMA: dict[str, object] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "urn:example:thing",
    "title": "Thing",
    "type": "object",
    "properties": {
        "description": {"type": "string", "description": "what it is", "x-guidance": {}},
        "title": {"enum": ["description", {"title": 1}], "default": "description"},
    },
    "anyOf": [{"required": ["title"], "$comment": "either"}, {"required": ["description"]}],
    "$defs": {"default": {"examples": [1], "const": {"description": 2}}},
}


def test_all_is_shown_but_for_what_only_engines_read() -> None:
    whole = shown(SCHEMA, descriptions=True)
    assert whole == json.dumps(SCHEMA, separators=(",", ":")).replace(',"x-guidance":{}', "")


def test_without_descriptions_only_what_constrains_stays() -> None:
    assert json.loads(shown(SCHEMA, descriptions=False)) == {
        "type": "object",
        "properties": {
            "description": {"type": "string"},
            "title": {"enum": ["description", {"title": 1}]},
        },
        "anyOf": [{"required": ["title"]}, {"required": ["description"]}],
        "$defs": {"default": {"const": {"description": 2}}},
    }


def test_the_order_of_keys_is_kept() -> None:
    text = shown({"properties": {"b": True, "a": True}}, descriptions=False)
    assert text == '{"properties":{"b":true,"a":true}}'
