"""What is done to JSON Schemas that pydantic has generated: formats, tags of unions, other keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ByteSize

from genir import _patterns, _temporal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.json_schema import JsonSchemaValue

_NESTED = ("items", "additionalProperties", "contains", "propertyNames", "not")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs")
_NO_BASE64 = (None, _patterns.PRINTABLE_ASCII)
OCTETS = {"contentMediaType": "application/octet-stream"}
"""Tells a schema of bytes from one of text."""
_OPENING = frozenset({"additionalProperties", "patternProperties", "allOf", "anyOf", "oneOf"})


def finished(schema: JsonSchemaValue) -> JsonSchemaValue:
    """The schema with patterns for formats and with required tags; changed in place."""
    definitions = schema.get("$defs", {})
    for each in _subschemas(schema):
        _check_format(each)
        tag = each.pop("discriminator", None)
        name = str(tag.get("propertyName")) if isinstance(tag, dict) else None
        for choice in each.get("oneOf", ()):
            _require(choice, name, definitions)
    return schema


def closed(schema: JsonSchemaValue) -> JsonSchemaValue:
    """Allows no other keys where the class ignores them.

    They would be lost. One that is another name of a field would even be read.
    """
    if schema.get("type") == "object" and "properties" in schema and not schema.keys() & _OPENING:
        schema["additionalProperties"] = False
    return schema


def _subschemas(schema: JsonSchemaValue) -> Iterator[JsonSchemaValue]:
    pending: list[Any] = [schema]
    while pending:
        each = pending.pop()
        if not isinstance(each, dict):
            continue
        yield each
        pending.extend(each.get(key) for key in _NESTED)
        for key in _LISTED:
            pending.extend(each.get(key) or ())
        for key in _NAMED:
            pending.extend((each.get(key) or {}).values())


def _check_format(schema: JsonSchemaValue) -> None:
    if schema.get("type") != "string":
        return
    if schema.get("pattern") == ByteSize.byte_string_pattern:
        schema["pattern"] = _patterns.BYTE_SIZE
    name = schema.get("format")
    if name == "zoneinfo":
        if zones := _temporal.time_zones():
            schema["enum"] = zones
    elif name in ("base64", "base64url") and schema.get("pattern") in _NO_BASE64:
        letters = "+/" if name == "base64" else "_-"
        # Lengths may be those of the base64 or of what it decodes to: a field's are the former.
        low, high = schema.pop("minLength", 0), schema.pop("maxLength", None)
        if high is not None:
            high = max(high // 4 * 3, low)
        pattern = _patterns.base64 if OCTETS.items() <= schema.items() else _patterns.base64_ascii
        schema["pattern"] = pattern(letters, low, high)
    elif name == "password" and "maxLength" in schema:  # Of secret bytes, it counts bytes.
        add_pattern(schema, _patterns.PRINTABLE_ASCII)
    elif name in _patterns.FORMATS:
        add_pattern(schema, _patterns.FORMATS[str(name)])


def add_pattern(schema: JsonSchemaValue, pattern: str) -> None:
    """Adds a pattern that must match besides the one that a schema may have."""
    if "pattern" in schema:
        schema.setdefault("allOf", []).append({"pattern": pattern})
    else:
        schema["pattern"] = pattern


def _require(schema: JsonSchemaValue, tag: str | None, definitions: dict[str, Any]) -> None:
    """Requires the tag of a union in a choice, or in the choices of a union inside.

    Without a name for it, because a function reads the tag, every constant may be the tag.
    """
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    target = definitions.get(name, schema)
    for choice in (*target.get("oneOf", ()), *target.get("anyOf", ())):
        _require(choice, tag, definitions)
    properties = target.get("properties", {})
    constants = [name for name, each in properties.items() if "const" in each]
    required = target.get("required", [])
    tags = [name for name in (constants if tag is None else [tag]) if name in properties]
    if missing := [name for name in tags if name not in required]:
        target["required"] = missing + required
