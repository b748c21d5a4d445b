"""Takes the regular expressions out of a schema, so that a meta-schema does not judge them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.read.references import as_uri
from genir_server.schema.read.vocabulary import MAPS_OF_SUBSCHEMAS, REFERENCES

if TYPE_CHECKING:
    from collections.abc import Iterable

_LITERALS = frozenset({"const", "enum", "default", "examples"})


def without_patterns(schema: dict[str, object]) -> dict[str, object]:
    """A copy with an empty `pattern` everywhere, and numbers as keys of `patternProperties`.

    Recursive: the nesting of a schema's text is limited.
    """
    return {
        keyword: part if keyword in _LITERALS else _masked(keyword, part)
        for keyword, part in schema.items()
    }


def path_with_patterns(schema: object, path: Iterable[str | int]) -> list[str | int]:
    """The path in a schema that leads to the place of `path` in the copy."""
    found: list[str | int] = []
    place = schema
    for step in path:
        if isinstance(place, dict):
            masked = step not in place and found[-1:] == ["patternProperties"]
            found.append(list(place)[int(str(step).removeprefix("#"))] if masked else step)
            place = place.get(found[-1])
        else:
            found.append(step)
            place = place[step] if isinstance(place, list) and isinstance(step, int) else None
    return found


def _masked(keyword: str, part: object) -> object:
    if keyword == "pattern" and isinstance(part, str):
        return ""
    if keyword in REFERENCES and isinstance(part, str):
        return as_uri(part)
    if keyword == "patternProperties" and isinstance(part, dict):
        return {f"#{index}": _part(value) for index, value in enumerate(part.values())}
    if keyword in MAPS_OF_SUBSCHEMAS and isinstance(part, dict):
        return {name: _part(value) for name, value in part.items()}
    return _part(part)


def _part(part: object) -> object:
    if isinstance(part, dict):
        return without_patterns(part)
    return [_part(item) for item in part] if isinstance(part, list) else part
