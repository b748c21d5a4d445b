"""Writes a value with its keys in the order that the engine requires."""

from __future__ import annotations

import json
from decimal import Decimal

import jsonschema_rs


def in_engine_order(value: object, schema: dict[str, object]) -> str:
    """Compact JSON of `value`, keys in the order of an engine schema, numbers written out."""
    return _Writer(schema).write(value)


class AsWritten(float):
    """A number that keeps its decimal point: 1.0 is not written as 1."""


def as_written(value: object) -> object:
    """A value whose numbers keep their decimal point.

    In draft 4, 1.0 is not an integer. If it is refused for that, it must not be tried as 1.
    """
    if isinstance(value, dict):
        return {name: as_written(member) for name, member in value.items()}
    if isinstance(value, list):
        return [as_written(item) for item in value]
    return AsWritten(value) if isinstance(value, float) else value


class _Plain(dict[str, object]):
    """Keywords of a schema, none of which applies another schema to the same value."""


class _Writer:
    def __init__(self, root: dict[str, object]) -> None:
        self._root = root
        self._validators: dict[int, jsonschema_rs.Validator] = {}

    def _fits(self, value: object, option: object) -> bool:
        if not isinstance(option, dict):
            return option is not False
        validator = self._validators.get(id(option))
        if validator is None:
            subject = {**option, "$defs": self._root.get("$defs", {}), "$id": ""}
            # In the engine schema, "#" is the root of the document, not of this part.
            text = json.dumps(subject).replace('"$ref": "#"', '"$ref": "#/$defs/"')
            whole = json.loads(text)
            whole["$defs"][""] = json.loads(
                json.dumps({k: v for k, v in self._root.items() if k != "$defs"}).replace(
                    '"$ref": "#"', '"$ref": "#/$defs/"'
                )
            )
            whole.pop("$id")
            validator = jsonschema_rs.Draft202012Validator(whole, offline=True)
            self._validators[id(option)] = validator
        return validator.is_valid(value)

    def write(self, root: object) -> str:
        pieces: list[str] = []
        # Either text to write, or a value and the schemas that apply to it.
        pending: list[str | tuple[object, list[object]]] = [(root, [self._root])]
        while pending:
            item = pending.pop()
            if isinstance(item, str):
                pieces.append(item)
                continue
            value, schemas = item
            parts = self._in_place(value, schemas)
            if isinstance(value, dict):
                pending.extend(reversed(self._object(value, parts)))
            elif isinstance(value, list):
                pending.extend(reversed(self._array(value, parts)))
            else:
                pieces.append(scalar_text(value))
        return "".join(pieces)

    def _in_place(self, value: object, schemas: list[object]) -> list[dict[str, object]]:
        """All schemas that apply to one value, in the order of their keywords."""
        found: list[dict[str, object]] = []
        seen: set[int] = set()
        pending = list(reversed(schemas))
        while pending:
            schema = pending.pop()
            if not isinstance(schema, dict) or id(schema) in seen:
                continue
            seen.add(id(schema))
            following: list[object] = []
            own: dict[str, object] = {}
            # Keywords apply in their written order, as in the engine.
            for keyword, part in schema.items():
                if keyword == "$ref" and isinstance(part, str):
                    inner: list[object] = [self._definition(part)]
                elif keyword == "allOf" and isinstance(part, list):
                    inner = part
                elif keyword == "anyOf" and isinstance(part, list):
                    inner = [option for option in part if self._fits(value, option)]
                else:
                    own[keyword] = part
                    continue
                if own:
                    following.append(_Plain(own))
                    own = {}
                following.extend(inner)
            if isinstance(schema, _Plain) or not following:
                found.append(schema)
                continue
            if own:
                following.append(_Plain(own))
            pending.extend(reversed(following))
        return found

    def _definition(self, reference: str) -> object:
        definitions = self._root.get("$defs")
        if "/" not in reference or not isinstance(definitions, dict):
            return self._root
        return definitions.get(reference.rpartition("/")[2])

    def _object(
        self, value: dict[str, object], parts: list[dict[str, object]]
    ) -> list[str | tuple[object, list[object]]]:
        order: dict[str, None] = {}
        for part in parts:
            properties = part.get("properties")
            if isinstance(properties, dict):
                order.update(dict.fromkeys(properties))
        for part in parts:
            required = part.get("required")
            if isinstance(required, list):
                order.update(dict.fromkeys(map(str, required)))
        names = [name for name in order if name in value]
        names.extend(name for name in value if name not in order)
        written: list[str | tuple[object, list[object]]] = ["{"]
        for index, name in enumerate(names):
            written.append(("," if index else "") + json.dumps(name, ensure_ascii=False) + ":")
            written.append((value[name], _property(parts, name)))
        written.append("}")
        return written

    def _array(
        self, value: list[object], parts: list[dict[str, object]]
    ) -> list[str | tuple[object, list[object]]]:
        written: list[str | tuple[object, list[object]]] = ["["]
        for index, item in enumerate(value):
            if index:
                written.append(",")
            schemas = []
            for part in parts:
                prefix = part.get("prefixItems")
                named = prefix if isinstance(prefix, list) else []
                schemas.append(named[index] if index < len(named) else part.get("items"))
            written.append((item, schemas))
        written.append("]")
        return written


def _property(parts: list[dict[str, object]], name: str) -> list[object]:
    schemas: list[object] = []
    for part in parts:
        properties = part.get("properties")
        if isinstance(properties, dict) and name in properties:
            schemas.append(properties[name])
            continue
        patterns = part.get("patternProperties")
        if isinstance(patterns, dict):
            schemas.extend(patterns.values())
        schemas.append(part.get("additionalProperties"))
    return schemas


def scalar_text(value: object) -> str:
    """A scalar or empty value as the engine writes it: numbers without exponents."""
    if isinstance(value, AsWritten):
        return repr(float(value))
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1 << 63:
            return str(int(value))
        return format(Decimal(repr(value)), "f")
    return json.dumps(value, ensure_ascii=False)
