"""JSON Schemas that say what pydantic checks, so that no valid IR is refused by its type.

pydantic's own JSON Schemas allow more than its types do: a tagged union without its tag, any
string for a Decimal, a date in the year 0. Where JSON Schema cannot say exactly what a type
accepts, the schema here allows less.
"""

from __future__ import annotations

from copy import deepcopy
from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from genir import _numbers, _patterns, _temporal
from genir._dict_keys import keys_of, keys_of_union
from genir._finished_schema import OCTETS, add_pattern, closed, finished

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.json_schema import JsonSchemaMode, JsonSchemaValue
    from pydantic_core import core_schema

    from genir._schema import SchemaAdapter


def checked_schema(given: object, adapter: SchemaAdapter[Any]) -> dict[str, Any]:
    """The JSON Schema of a type.

    Args:
        given: the type, or its adapter. A model class that makes its own schema is asked for it.
        adapter: the adapter of the type.

    Raises:
        PydanticErrorMixin: pydantic has none.

    """
    if isinstance(given, type) and issubclass(given, BaseModel):
        own = getattr(given.model_json_schema, "__func__", None)
        if own is not getattr(BaseModel.model_json_schema, "__func__", None):
            return given.model_json_schema()
    if isinstance(adapter, TypeAdapter):
        return adapter.json_schema(schema_generator=CheckedJsonSchema)
    return adapter.json_schema()


class CheckedJsonSchema(GenerateJsonSchema):
    """Makes JSON Schemas for input, in which pydantic's types say what they check."""

    # A default is an annotation: one that JSON cannot express is left out.
    ignored_warning_kinds = GenerateJsonSchema.ignored_warning_kinds | {"non-serializable-default"}

    def generate(
        self, schema: core_schema.CoreSchema, mode: JsonSchemaMode = "validation"
    ) -> JsonSchemaValue:
        """The JSON Schema of a type."""
        return finished(super().generate(schema, mode))

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        """The JSON Schema of a Literal."""
        if not any(map(_is_json, schema["expected"])):
            self.handle_invalid_for_json_schema(
                schema, "a Literal of members of an Enum that is not based on str"
            )
        return super().literal_schema(schema)

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """The JSON Schema of a union with a tag. Choices that JSON cannot express are left out."""
        made = super().tagged_union_schema(schema)
        if not made["oneOf"]:
            self.handle_invalid_for_json_schema(schema, "a tagged union whose tags are no JSON")
        return made

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """The JSON Schema of a model."""
        return closed(super().model_schema(schema))

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """The JSON Schema of a dataclass."""
        return closed(super().dataclass_schema(schema))

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        """The JSON Schema of a TypedDict."""
        return closed(super().typed_dict_schema(schema))

    def model_field_schema(self, schema: core_schema.ModelField) -> JsonSchemaValue:
        """The JSON Schema of a model's field."""
        self._check_alias(schema)
        return super().model_field_schema(schema)

    def dataclass_field_schema(self, schema: core_schema.DataclassField) -> JsonSchemaValue:
        """The JSON Schema of a dataclass's field."""
        self._check_alias(schema)
        return super().dataclass_field_schema(schema)

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        """The JSON Schema of a string. Lengths and pattern are those of the stripped text."""
        made = super().str_schema(schema)
        strips = schema.get("strip_whitespace", self._config.str_strip_whitespace)
        if strips and (made.get("minLength") or "pattern" in made):
            add_pattern(made, _patterns.NO_SPACE_AROUND)
        return made

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        """The JSON Schema of bytes. Lengths count bytes."""
        low, high = schema.get("min_length") or 0, schema.get("max_length")
        encoding = self._config.val_json_bytes
        if encoding == "base64":
            pattern = _patterns.base64("_-", low, high)
            return {"type": "string", "format": "base64url", "pattern": pattern}
        if encoding == "hex":
            most = "" if high is None else str(high)
            return {"type": "string", "pattern": f"^(?:[0-9a-f]{{2}}){{{low},{most}}}$"}
        made = super().bytes_schema(schema) | OCTETS
        if high is not None:
            made["pattern"] = _patterns.PRINTABLE_ASCII
        return made

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """The JSON Schema of a Decimal."""
        return _numbers.decimal(schema)

    def fraction_schema(self, schema: core_schema.FractionSchema) -> JsonSchemaValue:
        """The JSON Schema of a Fraction."""
        return _numbers.bounded({"type": "number"}, schema)

    def complex_schema(self, schema: core_schema.ComplexSchema) -> JsonSchemaValue:
        """The JSON Schema of a complex number."""
        return super().complex_schema(schema) | {"pattern": _patterns.COMPLEX}

    def date_schema(self, schema: core_schema.DateSchema) -> JsonSchemaValue:
        """The JSON Schema of a date."""
        return _temporal.date_schema(schema)

    def time_schema(self, schema: core_schema.TimeSchema) -> JsonSchemaValue:
        """The JSON Schema of a time of day."""
        return _temporal.time_schema(schema)

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        """The JSON Schema of a datetime."""
        return _temporal.datetime_schema(schema)

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        """The JSON Schema of a timedelta."""
        return _temporal.timedelta_schema(schema)

    def uuid_schema(self, schema: core_schema.UuidSchema) -> JsonSchemaValue:
        """The JSON Schema of a UUID."""
        made = super().uuid_schema(schema)
        version = schema.get("version")
        return made if version is None else made | {"pattern": _patterns.uuid(version)}

    def url_schema(self, schema: core_schema.UrlSchema) -> JsonSchemaValue:
        """The JSON Schema of a URL."""
        pattern = _patterns.url(schema.get("allowed_schemes") or [])
        return super().url_schema(schema) | {"pattern": pattern}

    def multi_host_url_schema(self, schema: core_schema.MultiHostUrlSchema) -> JsonSchemaValue:
        """The JSON Schema of a URL that may name several hosts."""
        pattern = _patterns.url(schema.get("allowed_schemes") or [])
        return super().multi_host_url_schema(schema) | {"pattern": pattern}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """The JSON Schema of a dict."""
        return self._with_keys(super().dict_schema(schema), schema)

    def counter_schema(self, schema: core_schema.CounterSchema) -> JsonSchemaValue:
        """The JSON Schema of a Counter."""
        return self._with_keys(super().counter_schema(schema), schema)

    def ordered_dict_schema(self, schema: core_schema.OrderedDictSchema) -> JsonSchemaValue:
        """The JSON Schema of an OrderedDict."""
        return self._with_keys(super().ordered_dict_schema(schema), schema)

    def frozendict_schema(self, schema: core_schema.FrozenDictSchema) -> JsonSchemaValue:
        """The JSON Schema of a frozendict."""
        return self._with_keys(super().frozendict_schema(schema), schema)

    def _check_alias(self, field: core_schema.ModelField | core_schema.DataclassField) -> None:
        alias = field.get("validation_alias")
        if not isinstance(alias, list) or self._config.validate_by_name:
            return
        if not any(isinstance(path, list) and len(path) == 1 for path in alias):
            self.handle_invalid_for_json_schema(field, "a field that only an AliasPath names")

    def _with_keys(self, made: JsonSchemaValue, schema: Mapping[str, Any]) -> JsonSchemaValue:
        """Says which keys a dict may have. pydantic leaves most of that out."""
        if "keys_schema" not in schema:
            return made
        keys = self.generate_inner(schema["keys_schema"])
        try:
            keys = self.resolve_ref_schema(keys)
            choices = self._choices(keys)
        except RuntimeError:  # A recursive definition is no type of keys.
            return made
        values = made.get("additionalProperties", True)
        if "patternProperties" in made:
            if keys.get("format") == "date":  # The pattern says it all.
                made.pop("propertyNames", None)
            return made | {"additionalProperties": False}
        allowed = keys_of(keys) if choices == [keys] else keys_of_union(choices)
        if allowed is None:
            return made
        if allowed.names:
            made["properties"] = dict.fromkeys(allowed.names, values)
        if allowed.pattern is not None:
            made["patternProperties"] = {allowed.pattern: values}
        made.pop("propertyNames", None)
        return made | {"additionalProperties": False}

    def _choices(self, keys: JsonSchemaValue) -> list[JsonSchemaValue]:
        """The schemas of which keys are a union, if they are one, with patterns for formats."""
        keys = self.resolve_ref_schema(keys)
        choices = keys.get("anyOf", keys.get("oneOf"))
        if choices is None:
            return [keys]
        return [finished(deepcopy(each)) for choice in choices for each in self._choices(choice)]


def _is_json(member: object) -> bool:
    """Whether a JSON value is equal to a member of a Literal."""
    return not isinstance(member, Enum) or isinstance(member, str | int)
