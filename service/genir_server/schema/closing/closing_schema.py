"""The closing schema for a position: what may follow a half-written value so that it soon ends.

The schema describes only what is still to be written: the open containers, each with the value
that is open in it and with the members and items that it still needs, in closed form. The engine
continues after a short text, the residual, that leads the grammar of the schema to the place at
which the written text ends. So neither depends on the length of what is complete. For example, for

    {"a": 1, "b": [1, 2, {"x": "he

the residual is ``{"b":[{"x":"``, and the schema allows the end of the string, members that the
inner object requires, items that the array still needs, and what the outer object requires.

Alternatives that do not fit the complete members are dropped, as far as a validator tells.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.schema.closing import literals
from genir_server.schema.closing.closed import (
    ClosedForms,
    NotClosableError,
    array_form,
    object_form,
)
from genir_server.schema.closing.values import (
    SCALARS,
    Way,
    add_items,
    add_members,
    is_plain_string,
    is_within,
    name_lists,
    scalar,
)

if TYPE_CHECKING:
    from genir_server.schema.closing.alternative import Alternative, Conjuncts, Schema
    from genir_server.schema.closing.alternatives import EngineSchema
    from genir_server.schema.closing.position import Frame, Position

# Characters that the model may add to a string that was cut.
_LAST_CHARACTERS = 8
_MAX_DEPTH = 200
_TYPES_BY_FIRST_BYTE = {b'"': {"string"}, b"n": {"null"}, b"t": {"boolean"}, b"f": {"boolean"}}
_NUMBER = {"integer", "fraction"}


@dataclass(frozen=True, slots=True)
class ClosingSchema:
    """What generation continues under.

    Attributes:
        text: the schema.
        residual: what its grammar consumes before the first new byte.

    """

    text: str
    residual: bytes


def closing_schema(
    engine: EngineSchema, position: Position, written: bytes, *, cheapest: bool = False
) -> ClosingSchema:
    """The closing schema for a position.

    After a complete member or item, the text has to go on with a comma, which the residual
    contains in effect: the next byte begins a key or an item. Without frames the value as a whole
    is still to be written, or it is an unfinished scalar.

    Args:
        engine: the engine schema.
        position: where the text ends.
        written: the text up to there.
        cheapest: whether only the smallest value is offered everywhere, rather than a choice.

    Raises:
        NotClosableError: none was found.
        UnreadableSchemaError: the schema has an unknown form, or reading it takes too long.

    """
    if len(position.frames) > _MAX_DEPTH:
        raise NotClosableError
    scalar_text = b"" if position.scalar is None else written[position.scalar : position.kept]
    for is_shortened in (True, False) if scalar_text[:1] == b'"' else (False,):
        spine = _Spine(engine, position.frames, scalar_text, is_shortened, cheapest)
        found = spine.open(engine.root, 0, certain=True)
        if spine.has_unsuitable_string and is_shortened:
            continue
        if not found:
            raise NotClosableError
        schema = {**_any_of(found), "$defs": spine.closed.definitions}
        text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
        return ClosingSchema(text, spine.residual())
    raise NotClosableError


class _Spine:
    """The open containers, from the outermost to the innermost.

    Attributes:
        closed: the closed forms of what is not begun.
        has_unsuitable_string: whether the unfinished string may have to match more than lengths,
            so that its beginning has to stay.

    """

    def __init__(
        self,
        engine: EngineSchema,
        frames: list[Frame],
        scalar_text: bytes,
        is_shortened: bool,
        cheapest: bool,
    ) -> None:
        self.closed = ClosedForms(engine, cheapest=cheapest)
        self.has_unsuitable_string = False
        self._engine = engine
        self._frames = frames
        self._scalar = scalar_text
        self._is_shortened = is_shortened
        self._last_characters = 0 if cheapest else _LAST_CHARACTERS
        self._known: dict[tuple[int, bool, tuple[int, ...]], list[Schema]] = {}

    def residual(self) -> bytes:
        """The text that leads to the end of the position."""
        found = b""
        for frame in self._frames:
            if not frame.is_object:
                found += b"["
            elif frame.key is None:
                found += b"{"
            else:
                key = json.dumps(frame.key, ensure_ascii=False)
                found += b"{" + key.encode(errors="surrogatepass") + b":"
        return found + (b'"' if self._is_shortened else self._scalar)

    def open(self, conjuncts: Conjuncts, level: int, *, certain: bool) -> list[Schema]:
        """Schemas for the value that is open at a level: alternatives, none if it cannot be.

        Args:
            conjuncts: what it has to satisfy.
            level: how many containers are around it.
            certain: whether nothing else can be open there.

        """
        key = (level, certain, tuple(map(id, conjuncts)))
        if key not in self._known:
            if level < len(self._frames):
                self._known[key] = self._container(conjuncts, level, certain=certain)
            elif self._scalar:
                self._known[key] = self._scalars(conjuncts)
            else:
                self._known[key] = [self.closed.form(conjuncts)]
        return self._known[key]

    def _container(self, conjuncts: Conjuncts, level: int, *, certain: bool) -> list[Schema]:
        frame = self._frames[level]
        kind = "object" if frame.is_object else "array"
        fitting = [
            opened
            for alternative in self._engine.alternatives(conjuncts)
            for opened in self._opened(alternative)
            if kind in opened.types
        ]
        if len(fitting) > 1 or not certain:
            fitting = [
                alternative
                for alternative in fitting
                if self._engine.validator(alternative, unfinished=True)(frame.value)
            ]
        certain = certain and len(fitting) == 1
        found: list[Schema] = []
        for alternative in fitting:
            if isinstance(frame.value, dict):
                found += self._object(alternative, frame.value, level, certain=certain)
            else:
                found += self._array(alternative, len(frame.value), level, certain=certain)
        return found

    def _opened(self, alternative: Alternative) -> list[Alternative]:
        if not alternative.has_literal:
            return [alternative]
        return literals.opened(self._engine, alternative)

    def _object(
        self, alternative: Alternative, done: dict[str, object], level: int, *, certain: bool
    ) -> list[Schema]:
        key = self._frames[level].key
        begun: list[Schema] = []
        written = tuple(done)
        if key is not None:
            member = self._engine.member(alternative, key)
            begun = [] if member is None else self.open(member, level + 1, certain=certain)
            if not begun:
                return []
            written = (*written, key)
        required = [name for name in alternative.required() if name not in written]
        skipped = _skipped(alternative.named(), written)
        if not skipped.isdisjoint(required) or not is_within(
            alternative.smallest("maxProperties"), len(required) + len(written)
        ):
            return []
        found: list[Schema] = []
        for names in name_lists(
            self._engine, alternative, required, written=written, skipped=skipped
        ):
            way = Way({}, 0)
            # An object that may be left as it is would have been closed.
            if not (begun or names) or not add_members(self._engine, way, alternative, names):
                continue
            forms = self._forms(list(way.members.values()))
            if forms is None:
                continue
            members = {} if key is None else {key: _any_of(begun)}
            found.append(object_form({**members, **dict(zip(names, forms, strict=True))}))
        return found

    def _array(
        self, alternative: Alternative, done: int, level: int, *, certain: bool
    ) -> list[Schema]:
        count = alternative.largest("minItems")
        begun: list[Schema] = []
        is_begun = level + 1 < len(self._frames) or bool(self._scalar)
        if is_begun:
            item = alternative.items(done)
            begun = [] if item is None else self.open(item, level + 1, certain=certain)
            if not begun:
                return []
        most = alternative.smallest("maxItems")
        way = Way({}, 0)
        if (
            not is_within(most, max(count, done + is_begun))
            or not (begun or done < count)
            or not add_items(way, alternative, done + is_begun, count)
        ):
            return []
        forms = self._forms(way.items)
        rest = None if way.rest is None else self._forms([way.rest])
        if forms is None or (way.rest is not None and rest is None):
            return []
        items = [_any_of(begun), *forms] if begun else forms
        return [array_form(items, rest[0] if rest else None, way.count)]

    def _forms(self, parts: list[Conjuncts]) -> list[Schema] | None:
        try:
            return [self.closed.form(part) for part in parts]
        except NotClosableError:
            return None

    def _scalars(self, conjuncts: Conjuncts) -> list[Schema]:
        types = _TYPES_BY_FIRST_BYTE.get(self._scalar[:1], _NUMBER)
        found: list[Schema] = []
        for alternative in self._engine.alternatives(conjuncts):
            allowed = alternative.types & types & SCALARS
            if not allowed:
                continue
            if self._scalar[:1] == b'"' and is_plain_string(alternative):
                found += self._plain_string(alternative)
                continue
            self.has_unsuitable_string = True
            if alternative.has_literal:
                values = literals.listed_values(self._engine, alternative)
                found += [{"enum": values}] if values else []
            else:
                found.append(scalar(type(alternative)(alternative.parts, allowed)).schema)
        return found

    def _plain_string(self, alternative: Alternative) -> list[Schema]:
        """Any end of the string, soon."""
        length = len(json.loads(self._scalar + b'"'))
        least = alternative.largest("minLength")
        most = alternative.smallest("maxLength")
        if not is_within(most, length):
            return []
        longest = length + self._last_characters
        longest = max(least, longest if most is None else min(longest, most))
        gone = length if self._is_shortened else 0
        return [{"type": "string", "minLength": max(0, least - gone), "maxLength": longest - gone}]


def _skipped(named: list[str], written: tuple[str, ...]) -> set[str]:
    """Names before the last one that is written. The engine writes them in this order only."""
    places = [place for place, name in enumerate(named) if name in written]
    return set(named[: max(places, default=0)]) - set(written)


def _any_of(schemas: list[Schema]) -> Schema:
    unique = list({json.dumps(schema): schema for schema in schemas}.values())
    return unique[0] if len(unique) == 1 else {"anyOf": unique}
