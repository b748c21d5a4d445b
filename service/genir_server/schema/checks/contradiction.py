"""What no value can satisfy in schemas that apply to it together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from genir_server.schema.errors import shown_pointer
from genir_server.schema.read.pointer import child
from genir_server.schema.read.vocabulary import Draft, known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genir_server.schema.read.document import Document, Node

_COUNTS = (
    ("string", "minLength", "maxLength"),
    ("array", "minItems", "maxItems"),
    ("object", "minProperties", "maxProperties"),
)


class Contradiction(NamedTuple):
    """Why no finite value satisfies a schema.

    Attributes:
        message: what is wrong, without the place.
        pointer: the keyword that no value can satisfy.
        rests_on: pointer of the part in whose contradiction it lies; None where it begins here.

    """

    message: str
    pointer: str
    rests_on: str | None = None


class Faults:
    """Finds what several schemas require and exclude at the same time.

    Args:
        document: the schemas.
        types: by schema, the types of the values that may satisfy it.

    """

    def __init__(self, document: Document, types: Mapping[str, frozenset[str]]) -> None:
        self._document = document
        self._draft = document.draft
        self._types = types

    def of(self, name: str, parts: list[Node]) -> Contradiction | None:
        """Why no value of one type satisfies the parts together; None if one may."""
        for kind, minimum, maximum in _COUNTS:
            if kind == name:
                low, at = self._largest(parts, minimum)
                highs = [
                    high for part in parts if (high := self._number(part, maximum)) is not None
                ]
                if highs and low > min(highs):
                    return Contradiction(f"{minimum} is larger than {maximum}", at)
        if name == "object":
            return self._object_fault(parts)
        if name == "array":
            return self._array_fault(parts)
        return None

    def _number(self, part: Node, keyword: str) -> float | None:
        value = keywords_of(self._draft, part).get(keyword)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def _largest(self, parts: list[Node], keyword: str) -> tuple[float, str]:
        """The largest value of a keyword, and its place; 0 if no part has it."""
        found: tuple[float, str] = 0, ""
        for part in parts:
            value = self._number(part, keyword)
            if value is not None and value > found[0]:
                found = value, child(part.pointer, keyword)
        return found

    def _object_fault(self, parts: list[Node]) -> Contradiction | None:
        for part in parts:
            required = keywords_of(self._draft, part).get("required")
            for name in required if isinstance(required, list) else ():
                targets = [target for other in parts for target in _property(other, str(name))]
                fault = self._inner_fault(
                    targets, child(part.pointer, "required"), f"property {name!r:.80}"
                )
                if fault is not None:
                    return fault
        low, at = self._largest(parts, "minProperties")
        for part in parts if low else ():
            names = self._closed_names(part)
            if names is not None and len(names) < low:
                return Contradiction("minProperties is larger than the number of properties", at)
        return None

    def _closed_names(self, part: Node) -> list[str] | None:
        """The properties that an object may have; None if it may have others."""
        rest = part.target("additionalProperties")
        if rest is None or self._types[rest] or "patternProperties" in part.keywords:
            return None
        edges = [edge for edge in part.edges if edge.keyword == "properties"]
        return [str(edge.key) for edge in edges if self._types[edge.target]]

    def _array_fault(self, parts: list[Node]) -> Contradiction | None:
        count, at = self._largest(parts, "minItems")
        longest = 1 + max((len(part.edges) for part in parts), default=0)
        for index in range(int(min(count, longest))):
            targets = [target for part in parts for target in _item(part, index)]
            fault = self._inner_fault(targets, at, f"item {index}")
            if fault is not None:
                return fault
        for part in parts:
            target = part.target("contains")
            low = self._number(part, "minContains") if known("minContains", self._draft) else None
            if target is not None and low != 0:
                fault = self._inner_fault(
                    [target], child(part.pointer, "contains"), "an item for contains"
                )
                if fault is not None:
                    return fault
        return None

    def _inner_fault(self, targets: list[str], at: str, what: str) -> Contradiction | None:
        for target in targets:
            if not self._types[target]:
                value = self._document.nodes[target].value
                if value is False:
                    where = shown_pointer(target)
                    return Contradiction(f"{what} is required, and excluded at {where}", at)
                return Contradiction(f"{what} is required, which nothing satisfies", at, target)
        if len(targets) > 1 and not frozenset.intersection(*(self._types[t] for t in targets)):
            return Contradiction(f"{what} is required, and has no type that all parts allow", at)
        return None


def keywords_of(draft: Draft, node: Node) -> dict[str, object]:
    """The keywords of a schema that count: in drafts up to 7 none beside `$ref`."""
    alone = draft <= Draft.DRAFT7 and "$ref" in node.keywords
    return {} if alone else node.keywords


def _property(part: Node, name: str) -> list[str]:
    """The schemas that certainly apply to a property."""
    target = part.target("properties", name)
    if target is not None:
        return [target]
    if "patternProperties" in part.keywords:
        return []
    rest = part.target("additionalProperties")
    return [] if rest is None else [rest]


def _item(part: Node, index: int) -> list[str]:
    """The schemas that certainly apply to an item."""
    for keyword in ("prefixItems", "items"):
        target = part.target(keyword, index)
        if target is not None:
            return [target]
    listed = any(edge.keyword == "items" and edge.key is not None for edge in part.edges)
    rest = part.target("additionalItems" if listed else "items")
    return [] if rest is None else [rest]
