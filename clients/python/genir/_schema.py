"""The kinds of schema arguments: text, files, mappings and Python types."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from genir._response_format import unwrapped, unwrapped_text
from genir._text_file import text_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import UnionType

    from typing_extensions import TypeForm

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SchemaAdapter(Protocol[T_co]):
    """What genir uses of a `pydantic.TypeAdapter`.

    It is a protocol, so that genir does not depend on pydantic.
    """

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of the type."""
        ...

    def validate_json(self, data: str, /) -> T_co:
        """A value of the type from JSON text."""
        ...


if TYPE_CHECKING:
    PlainSchema: TypeAlias = str | Path | Mapping[str, Any] | None
    """A schema whose IR is parsed to plain JSON values: JSON text, a file, a mapping, or None for
    the built-in IR schema."""
    TypedSchema: TypeAlias = type[T] | SchemaAdapter[T]
    """A type of which the result's `value` then is, or its `pydantic.TypeAdapter`."""
    ListedSchema: TypeAlias = PlainSchema | TypedSchema[Any] | UnionType
    """A schema in a list, where type checkers would take JSON text for the name of a type."""
    AnySchema: TypeAlias = ListedSchema | TypeForm[Any]
    """A plain schema or a Python type: a pydantic model class, a dataclass, a TypedDict, a union
    or any other type that pydantic knows, or a `TypeAdapter`."""

_FILE_NAME_ENDINGS = (".json", ".yaml", ".yml")
_MAX_FILE_NAME = 4_096


@dataclass(frozen=True, slots=True)
class SchemaArgument(Generic[T]):
    """A schema as sent in a request, and the parser of its IRs.

    Attributes:
        json_schema: the text to send; None for the built-in schema or a digest.
        schema_digest: the digest to send, or None.
        read: makes the result's value from the parsed IR and its text.

    """

    json_schema: str | None
    schema_digest: str | None
    read: Callable[[object, str], T]


def schema_argument(schema: AnySchema, schema_digest: str | None) -> SchemaArgument[Any]:
    """Reads the two schema arguments of a call.

    Raises:
        TypeError: the schema is of another type, or pydantic has no JSON Schema for it.
        ValueError: both arguments are given, the text is the name of a file, the file is not text,
            or JSON cannot express a value of the mapping.
        OSError: the file cannot be read.

    """
    if schema is None:
        return SchemaArgument(None, schema_digest, _parsed)
    if schema_digest is not None:
        msg = "give either schema or schema_digest, not both"
        raise ValueError(msg)
    if isinstance(schema, str):
        _check_text(schema)
        return SchemaArgument(unwrapped_text(schema), None, _parsed)
    if isinstance(schema, Path):
        return SchemaArgument(unwrapped_text(text_of(schema.read_bytes())), None, _parsed)
    if isinstance(schema, Mapping):
        return SchemaArgument(json_text(unwrapped(schema)), None, _parsed)
    # Imported here, because it uses pydantic where a caller has it.
    from genir._python_type import read_type

    typed = read_type(schema)
    return SchemaArgument(json_text(typed.json_schema), None, typed.read)


def schema_text(schema: ListedSchema) -> str:
    """The text of one schema of a list.

    Raises:
        TypeError: the schema is None or of another type.
        ValueError: as for `schema_argument`.
        OSError: the file cannot be read.

    """
    text = schema_argument(schema, None).json_schema
    if text is None:
        msg = "a schema in the list is None; the built-in IR schema is always prepared"
        raise TypeError(msg)
    return text


def json_text(schema: Mapping[str, Any]) -> str:
    """Compact JSON with the keys in the mapping's order, which is the order of the IR."""
    return json.dumps(dict(schema), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _parsed(value: object, ir_json: str) -> object:  # noqa: ARG001 - the text is for Python types.
    return value


def _check_text(text: str) -> None:
    """Refuses the name of a file, which no text of a schema looks like."""
    if len(text) > _MAX_FILE_NAME or "{" in text or "\n" in text:
        return
    if text.lower().endswith(_FILE_NAME_ENDINGS) or os.path.isfile(text):  # noqa: PTH113 - Path.is_file raises for NUL
        msg = (
            f"schema is read as JSON text, and {text!r} is the name of a file: "
            f"pass pathlib.Path({text!r})"
        )
        raise ValueError(msg)
