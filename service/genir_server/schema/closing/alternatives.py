"""What an engine schema says about one value, as alternatives without references.

Several schemas may apply to one value, through `allOf` and `$ref`, each with alternatives of its
own. An `Alternative` is one choice among them: a list of schemas with no keyword that leads to
another schema for the same value. A value satisfies the schemas if it satisfies all parts of
one alternative. Alternatives beyond a limit are left out. So what is made of them may accept too
little, never too much.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jsonschema_rs

from genir_server.schema.closing.alternative import (
    ALL_TYPES,
    Alternative,
    Conjuncts,
    as_dict,
    as_list,
    combined,
    types_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from genir_server.schema.closing.alternative import Schema

_IN_PLACE = frozenset({"$ref", "allOf", "anyOf", "oneOf", "$defs"})
_MAX_ALTERNATIVES = 128
_MAX_STEPS = 2_000
# The name of a definition that stands for the whole schema.
_ROOT = "genir-root"
_COUNTS = frozenset({"required", "minProperties", "minItems"})
_MAPS = frozenset({"properties", "patternProperties"})
_LITERALS = frozenset({"const", "enum"})
_NAMING = frozenset({"properties", "required"})


class UnreadableSchemaError(Exception):
    """The schema has a form that engine schemas do not have, or reading it takes too long."""


class _Plain(dict[str, object]):
    """Keywords of a schema, none of which leads to another schema for the same value."""


@dataclass(slots=True)
class _Choice:
    """An alternative that is not yet complete.

    Attributes:
        pending: schemas that are still to be added, the next one last.
        parts: what was added.
        types: what the parts allow.
        followed: references that were replaced by their targets.

    """

    pending: list[object]
    parts: Conjuncts = ()
    types: frozenset[str] = ALL_TYPES
    followed: frozenset[str] = frozenset()


class EngineSchema:
    """An engine schema that is read as alternatives.

    Args:
        text: the schema, as JSON.
        matches: whether a regular expression matches inside a text.
        deadline: processor time of this thread at which reading stops.

    Attributes:
        root: what applies to the whole value.
        definitions: its `$defs`.

    """

    def __init__(
        self, text: str, matches: Callable[[str, str], bool], deadline: float = math.inf
    ) -> None:
        parsed: Schema = json.loads(text)
        definitions = parsed.pop("$defs", {})
        self.definitions: Schema = definitions if isinstance(definitions, dict) else {}
        # A part that is compiled alone needs the whole schema under a name.
        self.definitions[_ROOT] = parsed
        _point_to_root(parsed, self.definitions)
        self.root: Conjuncts = (parsed,)
        self._matches = matches
        self._deadline = deadline
        self._plain: dict[int, _Plain] = {}
        # With the schemas themselves: one that is gone would leave its number to another.
        self._known: dict[tuple[int, ...], tuple[Conjuncts, list[Alternative]]] = {}

    def alternatives(self, conjuncts: Conjuncts) -> list[Alternative]:
        """The alternatives of a value to which schemas apply.

        Raises:
            UnreadableSchemaError: a reference leads nowhere, or the time is over.

        """
        key = tuple(map(id, conjuncts))
        if key not in self._known:
            if time.thread_time() > self._deadline:
                raise UnreadableSchemaError("the time is over")
            self._known[key] = conjuncts, list(self._expand(conjuncts))
        return self._known[key][1]

    def _expand(self, conjuncts: Conjuncts) -> Iterator[Alternative]:
        stack = [_Choice([*reversed(conjuncts)])]
        found = 0
        for _ in range(_MAX_STEPS):
            if not stack or found >= _MAX_ALTERNATIVES:
                return
            choice = stack.pop()
            if not choice.pending:
                found += 1
                yield Alternative(choice.parts, choice.types)
                continue
            schema = choice.pending.pop()
            if isinstance(schema, _Plain):
                choice.types &= types_of(schema)
                choice.parts = (*choice.parts, schema)
                if choice.types:
                    stack.append(choice)
            elif schema is True:
                stack.append(choice)
            elif isinstance(schema, dict):
                stack.extend(self._choices(choice, schema))

    def _choices(self, choice: _Choice, schema: Schema) -> list[_Choice]:
        """What a choice becomes when a schema is added to it; the first one comes last."""
        if "oneOf" in schema:
            raise UnreadableSchemaError("oneOf")
        plain = self._plain_part(schema)
        reference = schema.get("$ref")
        followed = choice.followed
        naming = next((keyword for keyword in schema if keyword in _NAMING), None)
        options = schema.get("anyOf")
        found: list[_Choice] = []
        for option in reversed(options) if isinstance(options, list) else [True]:
            inner: list[object] = []
            # The engine writes members in the order of the keywords that name them.
            for keyword, value in schema.items():
                if keyword == "allOf":
                    inner.extend(as_list(value))
                elif keyword == "anyOf":
                    inner.append(option)
                elif keyword == "$ref" and isinstance(reference, str):
                    if reference not in followed:
                        inner.append(self._target(reference))
                elif keyword == naming:
                    inner.append(plain)
            if plain and naming is None:
                inner.append(plain)
            found.append(
                _Choice(
                    [*choice.pending, *reversed(inner)],
                    choice.parts,
                    choice.types,
                    followed | {reference} if isinstance(reference, str) else followed,
                )
            )
        return found

    def _plain_part(self, schema: Schema) -> _Plain:
        """The keywords of a schema that lead to no other schema for the same value."""
        if id(schema) not in self._plain:
            kept = {key: value for key, value in schema.items() if key not in _IN_PLACE}
            self._plain[id(schema)] = _Plain(kept)
        return self._plain[id(schema)]

    def _target(self, reference: str) -> object:
        name = reference.removeprefix("#/$defs/").replace("~1", "/").replace("~0", "~")
        if name not in self.definitions:
            raise UnreadableSchemaError(reference)
        return self.definitions[name]

    def member(self, alternative: Alternative, name: str) -> Conjuncts | None:
        """The schemas for the member of a name; None if there can be no such member."""
        found: list[object] = []
        for part in alternative.parts:
            properties = as_dict(part.get("properties"))
            patterns = as_dict(part.get("patternProperties"))
            fitting = [inner for text, inner in patterns.items() if self._matches(text, name)]
            if name in properties:
                fitting.append(properties[name])
            found.extend(fitting or [part.get("additionalProperties", True)])
        return combined(found)

    def free_members(self, alternative: Alternative) -> tuple[str | None, Conjuncts] | None:
        """What members of other names than `properties` lists may be.

        Returns:
            A regular expression for the names, None for any name, and the schemas for the members;
            None if that is not simple.

        """
        patterns = [
            (text, inner)
            for part in alternative.parts
            for text, inner in as_dict(part.get("patternProperties")).items()
        ]
        rest = [part.get("additionalProperties", True) for part in alternative.parts]
        if not patterns:
            members = combined(rest)
            return None if members is None else (None, members)
        if len(alternative.parts) > 1:
            return None
        for text, inner in patterns:
            members = combined([inner])
            if members is not None:
                return text, members
        return None

    def validator(
        self, alternative: Alternative, *, unfinished: bool = False
    ) -> Callable[[object], bool]:
        """A check of values against an alternative.

        Args:
            alternative: what the values have to satisfy.
            unfinished: whether they are containers to which more may be added.

        """
        left_out = _COUNTS if unfinished else frozenset()
        parts = [
            {key: inner for key, inner in part.items() if key not in left_out}
            for part in alternative.parts
        ]
        types = [name for name in alternative.types if name != "fraction"]
        if "fraction" in alternative.types:
            types.append("number")
        schema = {"type": types, "allOf": [{}, *parts], "$defs": self.definitions}
        try:
            return jsonschema_rs.Draft202012Validator(schema, offline=True).is_valid
        except (ValueError, jsonschema_rs.ReferencingError):
            # Nothing is known to be valid.
            return lambda _: False


def _point_to_root(root: Schema, definitions: Schema) -> None:
    """Replaces references to the whole schema by references to the definition of it."""
    pending: list[tuple[object, bool]] = [(root, False), (definitions, True)]
    while pending:
        item, holds_names = pending.pop()
        if isinstance(item, list):
            pending.extend((inner, False) for inner in item)
        elif isinstance(item, dict):
            if item.get("$ref") == "#":
                item["$ref"] = f"#/$defs/{_ROOT}"
            pending.extend(
                (inner, key in _MAPS and not holds_names)
                for key, inner in item.items()
                if holds_names or key not in _LITERALS
            )
