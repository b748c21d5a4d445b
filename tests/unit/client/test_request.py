"""The request that a call makes of its arguments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genir import GenerationOptions, Message, PromptFormat, Role, SchemaInPrompt
from genir._request import generation_spec
from genir._schema import schema_argument
from genir.v1 import generation_pb2

if TYPE_CHECKING:
    from pathlib import Path

NO_SCHEMA = schema_argument(None, None)

OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "system": st.text(),
    "model": st.text(min_size=1),
    "schema_in_prompt": st.sampled_from([*SchemaInPrompt, "auto", "always", "never"]),
    "temperature": st.floats(0, 2),
    "top_p": st.floats(0, 1),
    "top_k": st.integers(0, 1000),
    "min_p": st.floats(0, 1),
    "seed": st.integers(0, 2**63 - 1),
    "frequency_penalty": st.floats(-2, 2),
    "presence_penalty": st.floats(-2, 2),
    "repetition_penalty": st.floats(0, 2),
    "max_tokens": st.integers(0, 2**31 - 1),
    "priority": st.integers(-1000, 1000),
    "max_attempts": st.integers(0, 5),
    "lora_adapter": st.text(min_size=1),
    "prompt_format": st.sampled_from([*PromptFormat, "chat", "raw"]),
    "request_id": st.text(min_size=1),
}
ENUMERATIONS = {
    "schema_in_prompt": (generation_pb2.SchemaInPrompt, "SCHEMA_IN_PROMPT_"),
    "prompt_format": (generation_pb2.PromptFormat, "PROMPT_FORMAT_"),
}


def test_every_field_of_the_contract_is_an_option() -> None:
    fields = {field.name for field in generation_pb2.GenerationSpec.DESCRIPTOR.fields}
    arguments = {"prompt", "conversation", "json_schema", "schema_digest"}
    assert set(GenerationOptions.__annotations__) == fields - arguments == set(OPTIONS)


# Twenty optional fields take a second to draw, on a slow machine longer than hypothesis likes.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {}, optional={name: st.none() | values for name, values in OPTIONS.items()}
    )
)
def test_what_is_given_is_sent_and_nothing_else(options: dict[str, Any]) -> None:
    spec = generation_spec("p", NO_SCHEMA, GenerationOptions(**options))  # type: ignore[typeddict-item]
    given_options = {name: value for name, value in options.items() if value is not None}
    sent = {field.name: value for field, value in spec.ListFields()}
    assert sent.pop("prompt") == "p"
    for name, (wrapper, prefix) in ENUMERATIONS.items():
        if name in sent:
            sent[name] = wrapper.Name(sent[name]).removeprefix(prefix).lower()
    assert sent == given_options


def test_an_empty_prompt_and_an_empty_system_are_sent_as_such() -> None:
    spec = generation_spec("", NO_SCHEMA, {"system": ""})
    assert spec.WhichOneof("input") == "prompt"
    assert spec.HasField("system")


def test_a_conversation_is_sent_in_order() -> None:
    spec = generation_spec(
        [Message(Role.SYSTEM, "s"), {"role": "user", "content": "u"}, Message("assistant", "a")],
        NO_SCHEMA,
        {},
    )
    assert spec.WhichOneof("input") == "conversation"
    assert [(m.role, m.content) for m in spec.conversation.messages] == [
        (generation_pb2.ROLE_SYSTEM, "s"),
        (generation_pb2.ROLE_USER, "u"),
        (generation_pb2.ROLE_ASSISTANT, "a"),
    ]


@pytest.mark.parametrize(
    ("prompt", "options", "kind", "word"),
    [
        ("p", {"max_tokens": 2**31}, ValueError, "max_tokens"),
        ("p", {"top_k": "many"}, TypeError, "top_k"),
        ("p", {"prompt_format": "xml"}, ValueError, "prompt_format"),
        ("p", {"max_token": 3}, TypeError, "max_token"),
        ("\ud800", {}, ValueError, "prompt"),
        ([{"role": "robot", "content": "x"}], {}, ValueError, "robot"),
        ([{"role": "user", "text": "x"}], {}, ValueError, "role and content"),
    ],
)
def test_what_no_request_can_hold_is_named(
    prompt: Any, options: Any, kind: type[Exception], word: str
) -> None:
    with pytest.raises(kind, match=word):
        generation_spec(prompt, NO_SCHEMA, options)


def test_a_mapping_keeps_the_order_of_its_keys_and_its_letters() -> None:
    schema = {"type": "object", "properties": {"z": {"const": "ä"}, "a": {}}}
    text = schema_argument(schema, None).json_schema
    assert text == '{"type":"object","properties":{"z":{"const":"ä"},"a":{}}}'


def test_text_and_files_are_sent_as_they_are(tmp_path: Path) -> None:
    text = '{ "type" : "object" }\n'
    file = tmp_path / "s.json"
    file.write_text(text, encoding="utf-8")
    assert schema_argument(text, None).json_schema == text
    assert schema_argument(file, None).json_schema == text


def test_a_digest_stands_for_a_schema() -> None:
    spec = generation_spec("p", schema_argument(None, "sha256:ab"), {})
    assert spec.WhichOneof("schema") == "schema_digest"
    assert spec.schema_digest == "sha256:ab"
    with pytest.raises(ValueError, match="not both"):
        schema_argument("{}", "sha256:ab")


def test_no_schema_leaves_the_choice_to_the_server() -> None:
    assert generation_spec("p", NO_SCHEMA, {}).WhichOneof("schema") is None


def test_a_model_class_is_its_json_schema() -> None:
    class Answer(pydantic.BaseModel):
        text: str = pydantic.Field(max_length=9)

    argument = schema_argument(Answer, None)
    assert argument.json_schema is not None
    assert json.loads(argument.json_schema) == Answer.model_json_schema()
    assert argument.read('{"text":"x"}') == Answer(text="x")


def test_what_is_no_schema_is_refused() -> None:
    with pytest.raises(TypeError, match="int is not a pydantic model class"):
        schema_argument(int, None)  # type: ignore[type-var]
    with pytest.raises(ValueError, match="JSON"):
        schema_argument({"maximum": float("nan")}, None)
