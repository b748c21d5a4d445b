"""Python types as schemas: what is sent, what `value` then is, and what is refused."""

from __future__ import annotations

import builtins
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
import pytest
from typing_extensions import TypedDict

from genir._schema import schema_argument

if TYPE_CHECKING:
    from pathlib import Path


class Point(pydantic.BaseModel):
    x: int
    y: int = 0


class Circle(pydantic.BaseModel):
    radius: float


@dataclass
class Step:
    action: Literal["go", "stop"]


class Movie(TypedDict):
    title: str


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (Point, '{"x":1}', Point(x=1)),
        (list[Point], '[{"x":1}]', [Point(x=1)]),
        (Point | Circle, '{"radius":2}', Circle(radius=2)),
        (Literal["a", "b"], '"b"', "b"),
        (Annotated[int, pydantic.Field(le=9)], "3", 3),
        (Annotated[list[int], pydantic.Field(max_length=2)], "[3]", [3]),
        (dict[str, Point], '{"a":{"x":1}}', {"a": Point(x=1)}),
        (Step, '{"action":"go"}', Step("go")),
        (Movie, '{"title":"M"}', {"title": "M"}),
        (int, "3", 3),
        (pydantic.TypeAdapter(Point | int), "3", 3),
    ],
    ids=repr,
)
def test_type_is_sent_as_its_schema_and_read(schema: Any, text: str, value: object) -> None:
    argument = schema_argument(schema, None)
    assert argument.json_schema is not None
    adapter = schema if isinstance(schema, pydantic.TypeAdapter) else pydantic.TypeAdapter(schema)
    sent, own = json.loads(argument.json_schema), adapter.json_schema()
    assert sent.get("type") == own.get("type")
    assert sent.get("properties") == own.get("properties")
    read = argument.read(json.loads(text), text)
    assert read == value
    assert type(read) is type(value)


def test_class_with_the_two_methods_needs_no_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own:
        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return {"const": 1}

        @classmethod
        def model_validate_json(cls, json_data: str, /) -> str:
            return f"read {json_data}"

    without_pydantic(monkeypatch)
    argument = schema_argument(Own, None)
    assert argument.json_schema == '{"const":1}'
    assert argument.read(1, "1") == "read 1"


def test_model_that_makes_its_own_schema_is_asked_for_it() -> None:
    class Own(Point):
        @classmethod
        def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
            return {"const": {"x": 1}}

    assert schema_argument(Own, None).json_schema == '{"const":{"x":1}}'


def without_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fail(name: str, *arguments: Any) -> Any:
        if name.partition(".")[0] == "pydantic":
            raise ModuleNotFoundError(name=name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", fail)


def test_type_without_pydantic_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_pydantic(monkeypatch)
    with pytest.raises(TypeError, match=r"Step needs pydantic.*pip install pydantic"):
        schema_argument(Step, None)


class Opaque:
    pass


class Unsendable(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    thing: Opaque


class Pathed(pydantic.BaseModel):
    city: str = pydantic.Field(validation_alias=pydantic.AliasPath("address", "city"))


@pytest.mark.parametrize(
    ("schema", "excerpt"),
    [
        (Point(x=1), r"instance of Point: give the class, schema=Point"),
        (Step("go"), r"instance of Step: give the class, schema=Step"),
        ([{"type": "object"}], "not list"),
        (b"{}", "not bytes"),
        (3, "not int"),
        (Opaque, "no JSON Schema for Opaque"),
        (list[Opaque], "no JSON Schema for list"),
        (Unsendable, "no JSON Schema for Unsendable"),
        (Pathed, "no JSON Schema for Pathed.*AliasPath"),
    ],
)
def test_what_is_no_schema_is_refused(schema: Any, excerpt: str) -> None:
    with pytest.raises(TypeError, match=excerpt):
        schema_argument(schema, None)


@pytest.mark.parametrize("name", ["schema.json", "folder/Verdict.schema.JSON", "schema.yaml"])
def test_name_of_a_file_as_text_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"name of a file: pass pathlib.Path\('"):
        schema_argument(name, None)


def test_name_of_an_existing_file_as_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "verdict"
    file.write_text("{}")
    with pytest.raises(ValueError, match="name of a file"):
        schema_argument(str(file), None)


@pytest.mark.parametrize("text", ["{}", "true", "", "{", '{"$ref":"a.json"}', "a\0b", "x" * 9999])
def test_other_text_is_left_to_the_server(text: str) -> None:
    assert schema_argument(text, None).json_schema == text


INNER = {"type": "object", "properties": {"z": {"const": "ä"}, "a": {}}}
WRAPPED = [
    {"name": "verdict", "strict": True, "schema": INNER},
    {"name": "verdict", "description": "of a judge", "schema": INNER},
    {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": INNER}},
    {"type": "json_schema", "name": "verdict", "strict": True, "schema": INNER},
]


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_response_format_of_openai_is_unwrapped(wrapper: Any, tmp_path: Path) -> None:
    file = tmp_path / "format.json"
    file.write_text(json.dumps(wrapper), encoding="utf-8")
    for schema in (wrapper, json.dumps(wrapper), file):
        sent = schema_argument(schema, None).json_schema
        assert sent is not None
        assert json.loads(sent) == INNER
        assert list(json.loads(sent)["properties"]) == ["z", "a"]


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"schema": {"type": "object"}, "name": {}}},
        {"type": "object", "schema": {"type": "object"}},
        {"name": "a", "schema": "b"},
        {"name": "a", "schema": {}, "required": ["x"]},
        {"type": "json_schema"},
    ],
)
def test_schema_that_only_resembles_a_wrapper_is_sent_as_it_is(schema: Any) -> None:
    sent = schema_argument(schema, None).json_schema
    assert sent is not None
    assert json.loads(sent) == schema
    text = json.dumps(schema, indent=3)
    assert schema_argument(text, None).json_schema == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_file_may_start_with_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"const":"ä"}', encoding=encoding)
    assert schema_argument(file, None).json_schema == '{"const":"ä"}'


def test_same_type_is_read_again_without_a_new_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    schema_argument(list[Point], None)
    monkeypatch.setattr(pydantic, "TypeAdapter", None)
    assert schema_argument(list[Point], None).read(None, '[{"x":1}]') == [Point(x=1)]
