"""What the parts of one narrowing share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from genir_server.domain.types import Enforcement, SchemaNotice
from genir_server.schema.narrow.definitions import AddedDefinitions
from genir_server.schema.read.pointer import child

if TYPE_CHECKING:
    from genir_server.schema.limits import NarrowingBounds
    from genir_server.schema.relax import Relaxed
    from genir_server.schema.relax.text_facts import Texts

Schema = dict[str, object]

_MINIMUMS = ("minLength", "minItems", "minProperties")
_MAY_REQUIRE_PROPERTIES = {
    "minProperties",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "if",
    "allOf",
}


class Oracle(Protocol):
    """Questions that only the libraries can answer."""

    def compiles(self, schema: Schema | bool) -> bool:
        """Whether the grammar compiler accepts a small schema by itself."""
        ...

    def matches(self, pattern: str, text: str) -> bool:
        """Whether a regular expression matches inside a text; True when that is unknown."""
        ...

    def writes(self, number: float) -> bool:
        """Whether the engine writes a constant as it is."""
        ...

    def writes_texts(self, facts: Texts) -> bool:
        """Whether the engine writes the texts that several keywords allow together."""
        ...


class _TextChange(NamedTuple):
    """Keywords of a part before they were changed, None where they were not there; the notice."""

    own: Schema
    keyword: str
    where: str


class Narrowing:
    """One narrowing.

    Attributes:
        relaxed: the schema that is narrowed, with what relaxing left out.
        bounds: what is bounded, and how far.
        oracle: answers of the libraries.
        notices: what was narrowed so far, by pointer and keyword.
        definitions: the `$defs` of the schema.
        added: definitions that narrowing adds.
        enforced: pointers to the caller's keywords about numbers that relaxing left out and
            narrowing enforces.
        texts: what was changed in parts about texts, by their ids.

    """

    def __init__(self, relaxed: Relaxed, bounds: NarrowingBounds, oracle: Oracle) -> None:
        self.relaxed = relaxed
        self.bounds = bounds
        self.oracle = oracle
        self.notices: dict[tuple[str, str], SchemaNotice] = {}
        self.enforced: set[str] = set()
        self.texts: dict[int, list[_TextChange]] = {}
        definitions = relaxed.schema.get("$defs") if isinstance(relaxed.schema, dict) else None
        self.definitions: Schema = definitions if isinstance(definitions, dict) else {}
        self.added = AddedDefinitions(self.definitions, bounds)
        checked = [
            notice
            for notice in relaxed.notices
            if notice.enforcement is Enforcement.CHECKED_AFTER_DECODING
        ]
        self._may_require_properties = {
            notice.pointer.rpartition("/")[0]
            for notice in checked
            if notice.keyword in _MAY_REQUIRE_PROPERTIES
        }
        self._contains_parents = [
            notice.pointer.rpartition("/")[0] + "/"
            for notice in checked
            if notice.keyword == "contains"
        ]
        self._minimums = _largest_minimums(relaxed.schema)

    def note(self, pointer: str, keyword: str, detail: str) -> None:
        """Reports a keyword that was added or changed."""
        where = child(pointer, keyword) if keyword else pointer
        self.notices[where, keyword] = SchemaNotice(keyword, where, Enforcement.NARROWED, detail)

    def note_enforced(self, where: str, detail: str) -> None:
        """Reports that a keyword of the caller, which was left out, is enforced more tightly.

        Args:
            where: the caller's pointer to the keyword.
            detail: what was added.

        """
        pointer, _, keyword = where.rpartition("/")
        self.note(pointer, keyword, detail)
        self.enforced.add(where)

    def change_text(
        self, schema: Schema, keywords: Schema, pointer: str, keyword: str, detail: str
    ) -> None:
        """Sets keywords about texts in a part, and reports them as `keyword`."""
        self.note(pointer, keyword, detail)
        own = {name: schema.get(name) for name in keywords}
        change = _TextChange(own, keyword, child(pointer, keyword))
        self.texts.setdefault(id(schema), []).append(change)
        schema.update(keywords)

    def undo_texts(self, schema: Schema) -> None:
        """Takes back what `change_text` did to a part, and its notices."""
        for change in reversed(self.texts.pop(id(schema), [])):
            schema.update({name: value for name, value in change.own.items() if value is not None})
            for name in change.own:
                if change.own[name] is None:
                    schema.pop(name, None)
            self.notices.pop((change.where, change.keyword), None)

    def minimum(self, keyword: str) -> int:
        """The largest value of a minimum (such as `minItems`) anywhere in the schema; 0 if none."""
        return self._minimums.get(keyword, 0)

    def keeps(self, own: object, bound: int) -> bool:
        """Whether a bound of the schema itself stays, rather than the usual one."""
        return not self.bounds.over_own_bounds or not isinstance(own, int) or own <= bound

    def verifier_may_require_properties(self, pointer: str) -> bool:
        """Whether a keyword left to the verifier may require properties that have no name here."""
        return pointer in self._may_require_properties

    def verifier_may_require_items(self, pointer: str) -> bool:
        """Whether a `contains` left to the verifier may require items here."""
        return any(parent.startswith(f"{pointer}/") for parent in self._contains_parents)

    def free_value(self, pointer: str) -> Schema:
        """A reference to any value of bounded size, reported for `pointer`."""
        self.note(pointer, "", "any value, of bounded size")
        return self.added.free()


def _largest_minimums(root: object) -> dict[str, int]:
    found: dict[str, int] = {}
    pending: list[object] = [root]
    seen: set[int] = set()
    while pending:
        item = pending.pop()
        if not isinstance(item, dict | list) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, list):
            pending.extend(item)
            continue
        for keyword in _MINIMUMS:
            value = item.get(keyword)
            if isinstance(value, int):
                found[keyword] = max(value, found.get(keyword, 0))
        pending.extend(item.values())
    return found
