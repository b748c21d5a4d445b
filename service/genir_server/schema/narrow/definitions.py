"""Definitions that narrowing adds to an engine schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from genir_server.schema.limits import NarrowingBounds

Schema = dict[str, object]

_FREE = "free"


class AddedDefinitions:
    """The added definitions, and references to them.

    Args:
        taken: names that already exist in `$defs`.
        bounds: bounds of a value that may be anything.

    """

    def __init__(self, taken: Iterable[str], bounds: NarrowingBounds) -> None:
        self._bounds = bounds
        self._uses_free = False
        # Schemas used in several places, by the names of their definitions.
        self._shared: Schema = {}
        self._name = _FREE
        while any(name.startswith(self._name) for name in taken):
            self._name += "_"

    def free(self) -> Schema:
        """A reference to any value of bounded size."""
        self._uses_free = True
        return {"$ref": f"#/$defs/{self._name}{self._bounds.free_depth}"}

    def shared(self, schema: object) -> object:
        """A reference to a schema that is used in several places, instead of copies."""
        if not isinstance(schema, dict) or not schema:
            return schema
        name = f"{self._name}-rest{len(self._shared)}"
        self._shared[name] = schema
        return {"$ref": f"#/$defs/{name}"}

    def all(self) -> Schema:
        """The definitions that were used, by name."""
        return {**self._shared, **(self._free_definitions() if self._uses_free else {})}

    def _free_definitions(self) -> Schema:
        bounds = self._bounds
        largest = 10**bounds.integer_digits - 1
        number: Schema = {"type": "number", "minimum": -largest, "maximum": largest}
        if bounds.over_own_bounds:
            number |= {"minimum": 0, "multipleOf": float(f"1e-{bounds.fraction_digits}")}
        options: list[object] = [
            {"type": ["null", "boolean"]},
            {"type": "string", "maxLength": bounds.string_characters},
            number,
        ]
        definitions: Schema = {f"{self._name}0": {"anyOf": options}}
        for depth in range(1, bounds.free_depth + 1):
            inner = {"$ref": f"#/$defs/{self._name}{depth - 1}"}
            definitions[f"{self._name}{depth}"] = {
                "anyOf": [
                    {
                        "type": "object",
                        "additionalProperties": inner,
                        "maxProperties": 1 if bounds.single_keys else bounds.map_properties,
                    },
                    {"type": "array", "items": inner, "maxItems": bounds.array_items},
                    *options,
                ]
            }
        return definitions
