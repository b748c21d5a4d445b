"""Requests built from the arguments of a call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pydantic
import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genir import GenerationOptions, Message, PromptFormat, Role, SchemaInPrompt
from genir._request import generation_spec
from genir._schema import schema_argument
from genir.v1 import generation_pb2

if TYPE_CHECKING:
    from pathlib import Path

NO_SCHEMA = schema_argument(None, None)

ENUMERATIONS = {
    "schema_in_prompt": (generation_pb2.SchemaInPrompt, "SCHEMA_IN_PROMPT_"),
    "prompt_format": (generation_pb2.PromptFormat, "PROMPT_FORMAT_"),
    "on_budget": (generation_pb2.OnBudget, "ON_BUDGET_"),
}
ARGUMENTS = {"prompt", "conversation", "json_schema", "schema_digest"}
"""Fields of `GenerationSpec` that are not options."""


def option_values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Values for an option that its field of the contract can hold."""
    strategies: dict[int, st.SearchStrategy[Any]] = {
        FieldDescriptor.CPPTYPE_STRING: st.text(),
        FieldDescriptor.CPPTYPE_DOUBLE: st.floats(allow_nan=False),
        FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    }
    if field.enum_type is not None:
        prefix = ENUMERATIONS[field.name][1]
        names = [value.name.removeprefix(prefix).lower() for value in field.enum_type.values]
        strategy: st.SearchStrategy[Any] = st.sampled_from(names[1:])
    else:
        strategy = strategies[field.cpp_type]
    # Protobuf does not list a field without presence that has its default value.
    return strategy if field.has_presence else strategy.filter(bool)


OPTIONS = {
    field.name: option_values(field)
    for field in generation_pb2.GenerationSpec.DESCRIPTOR.fields
    if field.name not in ARGUMENTS
}


def test_every_field_of_the_contract_is_an_option() -> None:
    assert set(GenerationOptions.__annotations__) == set(OPTIONS)


def test_enumerations_are_accepted_as_members_too() -> None:
    spec = generation_spec(
        "p",
        NO_SCHEMA,
        {"schema_in_prompt": SchemaInPrompt.NEVER, "prompt_format": PromptFormat.RAW},
    )
    assert spec.schema_in_prompt == generation_pb2.SCHEMA_IN_PROMPT_NEVER
    assert spec.prompt_format == generation_pb2.PROMPT_FORMAT_RAW


# Drawing twenty optional fields takes a second, which hypothesis reports as too slow.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {}, optional={name: st.none() | values for name, values in OPTIONS.items()}
    )
)
def test_only_given_options_are_sent(options: dict[str, Any]) -> None:
    spec = generation_spec("p", NO_SCHEMA, GenerationOptions(**options))  # type: ignore[typeddict-item]
    given_options = {name: value for name, value in options.items() if value is not None}
    sent = {field.name: value for field, value in spec.ListFields()}
    assert sent.pop("prompt") == "p"
    for name, (wrapper, prefix) in ENUMERATIONS.items():
        if name in sent:
            sent[name] = wrapper.Name(sent[name]).removeprefix(prefix).lower()
    assert sent == given_options


def test_empty_prompt_and_empty_system_message_are_sent() -> None:
    spec = generation_spec("", NO_SCHEMA, {"system": ""})
    assert spec.WhichOneof("input") == "prompt"
    assert spec.HasField("system")


def test_conversation_is_sent_in_order() -> None:
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
    ("prompt", "options", "kind", "excerpt"),
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
def test_argument_that_a_request_cannot_hold_is_named(
    prompt: Any, options: Any, kind: type[Exception], excerpt: str
) -> None:
    with pytest.raises(kind, match=excerpt):
        generation_spec(prompt, NO_SCHEMA, options)


def test_mapping_keeps_key_order_and_non_ascii_letters() -> None:
    schema = {"type": "object", "properties": {"z": {"const": "ä"}, "a": {}}}
    text = schema_argument(schema, None).json_schema
    assert text == '{"type":"object","properties":{"z":{"const":"ä"},"a":{}}}'


def test_text_and_files_are_sent_unchanged(tmp_path: Path) -> None:
    text = '{ "type" : "object" }\n'
    file = tmp_path / "s.json"
    file.write_text(text, encoding="utf-8")
    assert schema_argument(text, None).json_schema == text
    assert schema_argument(file, None).json_schema == text


def test_digest_replaces_the_schema() -> None:
    spec = generation_spec("p", schema_argument(None, "sha256:ab"), {})
    assert spec.WhichOneof("schema") == "schema_digest"
    assert spec.schema_digest == "sha256:ab"
    with pytest.raises(ValueError, match="not both"):
        schema_argument("{}", "sha256:ab")


def test_missing_schema_sends_none() -> None:
    assert generation_spec("p", NO_SCHEMA, {}).WhichOneof("schema") is None


def test_model_class_is_sent_as_its_json_schema() -> None:
    class Answer(pydantic.BaseModel):
        text: str = pydantic.Field(max_length=9)

    argument = schema_argument(Answer, None)
    assert argument.json_schema is not None
    made = json.loads(argument.json_schema)
    assert made == Answer.model_json_schema() | {"additionalProperties": False}
    assert argument.read({"text": "x"}, '{"text":"x"}') == Answer(text="x")


def test_argument_that_is_not_a_schema_is_refused() -> None:
    with pytest.raises(TypeError, match="not float"):
        schema_argument(1.5, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="JSON"):
        schema_argument({"maximum": float("nan")}, None)
