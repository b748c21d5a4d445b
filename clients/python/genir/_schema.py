"""The kinds of schema arguments, and how each parses the IR."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, overload

from genir.errors import ErrorDetails, ErrorReason, ModelRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class SchemaModel(Protocol):
    """A class with a JSON Schema that can parse JSON, such as any `pydantic.BaseModel`.

    It is a protocol, so that genir does not depend on pydantic.
    """

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        """The JSON Schema of the class."""
        ...

    @classmethod
    def model_validate_json(cls, json_data: str, /) -> Self:
        """An instance from JSON text."""
        ...


ModelT = TypeVar("ModelT", bound=SchemaModel)
T = TypeVar("T")

if TYPE_CHECKING:
    PlainSchema = str | Path | Mapping[str, Any] | None
    """A schema whose IR is parsed to plain JSON values: JSON text, a file, a mapping, or None for
    the built-in IR schema."""


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


@overload
def schema_argument(schema: type[ModelT], schema_digest: str | None) -> SchemaArgument[ModelT]: ...
@overload
def schema_argument(schema: PlainSchema, schema_digest: str | None) -> SchemaArgument[Any]: ...
def schema_argument(
    schema: PlainSchema | type[SchemaModel], schema_digest: str | None
) -> SchemaArgument[Any]:
    """Reads the two schema arguments of a call.

    Raises:
        TypeError: the schema is of another type.
        ValueError: both arguments are given, or JSON cannot express a value of the mapping.
        OSError: the file cannot be read.

    """
    if schema is None:
        return SchemaArgument(None, schema_digest, _parsed)
    if schema_digest is not None:
        msg = "give either schema or schema_digest, not both"
        raise ValueError(msg)
    if isinstance(schema, str):
        return SchemaArgument(schema, None, _parsed)
    if isinstance(schema, Path):
        return SchemaArgument(schema.read_text(encoding="utf-8"), None, _parsed)
    if isinstance(schema, type):
        if not hasattr(schema, "model_json_schema") or not hasattr(schema, "model_validate_json"):
            msg = f"the class {schema.__name__} is not a pydantic model class"
            raise TypeError(msg)
        return SchemaArgument(_json_text(schema.model_json_schema()), None, _model_reader(schema))
    return SchemaArgument(_json_text(schema), None, _parsed)


def schema_text(schema: PlainSchema | type[SchemaModel]) -> str:
    """The text of one schema of a list.

    Raises:
        TypeError: the schema is None or of another type.
        ValueError: JSON cannot express a value of the mapping.
        OSError: the file cannot be read.

    """
    text = schema_argument(schema, None).json_schema
    if text is None:
        msg = "a schema in the list is None; the built-in IR schema is always prepared"
        raise TypeError(msg)
    return text


def _parsed(value: object, ir_json: str) -> object:  # noqa: ARG001 - the text is for model classes.
    return value


def _json_text(schema: Mapping[str, Any]) -> str:
    """Compact JSON with the keys in the mapping's order, which is the order of the IR."""
    return json.dumps(dict(schema), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _model_reader(model: type[SchemaModel]) -> Callable[[object, str], SchemaModel]:
    def read(value: object, ir_json: str) -> SchemaModel:  # noqa: ARG001 - the class parses itself.
        try:
            return model.model_validate_json(ir_json)
        except ValueError as error:  # pydantic's ValidationError is one.
            raise ModelRefusedError(
                ErrorDetails(
                    reason=ErrorReason.MODEL_REFUSED,
                    message=f"the IR is valid against the schema of {model.__name__}, but the "
                    f"class rejects it: {error}",
                    raw_output=ir_json,
                )
            ) from error

    return read
