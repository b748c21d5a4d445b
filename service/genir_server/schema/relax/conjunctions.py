"""Finds the parts of an engine schema that apply to one value together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, object]

_MAX_PARTS = 40
_MAX_CONJUNCTIONS = 5_000


def conjunctions(root: Schema) -> Iterator[list[Schema]]:
    """The parts that apply to each value, for each choice of an alternative.

    Where a value has several sets of alternatives, choices of two of them are not combined.

    Args:
        root: an engine schema with its `$defs`.

    """
    definitions = root.get("$defs")
    search = _Search(root, definitions if isinstance(definitions, dict) else {})
    left = _MAX_CONJUNCTIONS
    for place in search.places():
        for found in search.together(place, []):
            left -= 1
            if not left:
                return
            yield found


class _Search:
    def __init__(self, root: Schema, definitions: Schema) -> None:
        self._root = root
        self._definitions = definitions

    def places(self) -> Iterator[Schema]:
        """Every part that describes a value by itself, each once."""
        seen: set[int] = set()
        pending: list[tuple[object, bool]] = [(self._root, True)]
        pending += [(part, True) for part in self._definitions.values()]
        while pending:
            schema, is_place = pending.pop()
            if not isinstance(schema, dict) or id(schema) in seen:
                continue
            seen.add(id(schema))
            if is_place:
                yield schema
            for keyword, value in schema.items():
                if keyword in ("allOf", "anyOf", "prefixItems") and isinstance(value, list):
                    pending += [(part, keyword == "prefixItems") for part in value]
                elif keyword in ("properties", "patternProperties") and isinstance(value, dict):
                    pending += [(part, True) for part in value.values()]
                elif keyword in ("items", "additionalProperties"):
                    pending.append((value, True))

    def together(self, schema: Schema, around: list[Schema]) -> Iterator[list[Schema]]:
        """The parts of one place, beside those that are known to apply to it."""
        parts = list(around)
        options: list[Schema] = []
        pending: list[object] = [schema]
        while pending and len(parts) < _MAX_PARTS:
            part = pending.pop()
            if not isinstance(part, dict) or any(part is one for one in parts):
                continue
            parts.append(part)
            reference = part.get("$ref")
            if isinstance(reference, str):
                pending.append(self._target(reference))
            members, alternatives = part.get("allOf"), part.get("anyOf")
            pending += members if isinstance(members, list) else []
            if isinstance(alternatives, list):
                options += [option for option in alternatives if isinstance(option, dict)]
        if not options:
            yield parts
        for option in options:
            if len(parts) < _MAX_PARTS:
                yield from self.together(option, parts)

    def _target(self, reference: str) -> object:
        if "/" not in reference:
            return self._root
        return self._definitions.get(reference.rpartition("/")[2])
