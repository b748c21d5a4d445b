from __future__ import annotations

import json

from genir_server.schema.prompt_text import prompt_text

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


def test_full_text_leaves_out_only_engine_options() -> None:
    whole = prompt_text(SCHEMA, descriptions=True)
    assert whole == json.dumps(SCHEMA, separators=(",", ":")).replace(',"x-guidance":{}', "")


def test_text_without_descriptions_keeps_only_constraints() -> None:
    assert json.loads(prompt_text(SCHEMA, descriptions=False)) == {
        "type": "object",
        "properties": {
            "description": {"type": "string"},
            "title": {"enum": ["description", {"title": 1}]},
        },
        "anyOf": [{"required": ["title"]}, {"required": ["description"]}],
        "$defs": {"default": {"const": {"description": 2}}},
    }


def test_keys_keep_their_order() -> None:
    text = prompt_text({"properties": {"b": True, "a": True}}, descriptions=False)
    assert text == '{"properties":{"b":true,"a":true}}'
