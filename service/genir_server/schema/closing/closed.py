"""Closed forms: schemas for small values that a part of an engine schema accepts.

A closed form has only required members, arrays of their minimum length and short strings, and no
recursion, but the model still chooses among short alternatives. It accepts no value that the
part does not accept.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from genir_server.schema.closing.values import ways

if TYPE_CHECKING:
    from genir_server.schema.closing.alternative import Conjuncts, Schema
    from genir_server.schema.closing.alternatives import EngineSchema
    from genir_server.schema.closing.values import Way

_MAX_NODES = 600
_MAX_PASSES = 100
# A way is offered if it takes at most twice the bytes of the smallest, and so many more.
_SLACK_BYTES = 80


class NotClosableError(Exception):
    """No closed form was found."""


@dataclass(slots=True)
class _Option:
    """A way to write a value, with the numbers of the nodes for its parts."""

    way: Way
    members: dict[str, int]
    items: list[int]
    rest: int | None
    cost: float = math.inf
    height: int = 0

    @property
    def children(self) -> list[int]:
        rest = [] if self.rest is None else [self.rest]
        return [*self.members.values(), *self.items, *rest]


@dataclass(slots=True)
class _Node:
    """What may stand in one place.

    Attributes:
        options: the ways to write it.
        cost: bytes of the smallest value, about; infinite until one is found.
        height: more than the heights of the parts of the value that was found first.

    """

    options: list[_Option] = field(default_factory=list)
    cost: float = math.inf
    height: int = 0


class ClosedForms:
    """The closed forms of an engine schema's parts.

    Args:
        engine: the schema.
        cheapest: whether only the smallest value is offered everywhere, rather than a choice.

    Attributes:
        definitions: the definitions to which the forms refer.

    """

    def __init__(self, engine: EngineSchema, *, cheapest: bool) -> None:
        self._engine = engine
        self._cheapest = cheapest
        self._numbers: dict[tuple[int, ...], int] = {}
        self._nodes: list[_Node] = []
        self._pending: list[tuple[_Node, Conjuncts]] = []
        self._below: dict[int, set[int]] = {}
        self.definitions: Schema = {}

    def form(self, conjuncts: Conjuncts) -> Schema:
        """The closed form of a value to which schemas apply.

        Raises:
            NotClosableError: there is none.

        """
        number = self._number(conjuncts)
        if self._pending:
            self._explore()
            self._find_costs()
        if self._nodes[number].cost == math.inf:
            raise NotClosableError
        pending = [number]
        while pending:
            next_number = pending.pop()
            name = _name(next_number)
            if name not in self.definitions:
                options = self._kept(next_number)
                forms = [self._form(option) for option in options]
                self.definitions[name] = forms[0] if len(forms) == 1 else {"anyOf": forms}
                pending.extend(child for option in options for child in option.children)
        return _reference(number)

    def _number(self, conjuncts: Conjuncts) -> int:
        key = tuple(map(id, conjuncts))
        if key not in self._numbers:
            if len(self._nodes) >= _MAX_NODES:
                raise NotClosableError
            self._numbers[key] = len(self._nodes)
            self._nodes.append(_Node())
            self._pending.append((self._nodes[-1], conjuncts))
        return self._numbers[key]

    def _explore(self) -> None:
        while self._pending:
            node, conjuncts = self._pending.pop()
            for alternative in self._engine.alternatives(conjuncts):
                for way in ways(self._engine, alternative):
                    node.options.append(
                        _Option(
                            way,
                            {name: self._number(part) for name, part in way.members.items()},
                            [self._number(part) for part in way.items],
                            None if way.rest is None else self._number(way.rest),
                        )
                    )

    def _find_costs(self) -> None:
        for _ in range(_MAX_PASSES):
            changed = False
            for node in reversed(self._nodes):
                for option in node.options:
                    parts = [self._nodes[number] for number in option.children]
                    option.cost = option.way.own_bytes + sum(part.cost for part in parts)
                    if option.rest is not None:
                        option.cost += (option.way.count - 1) * self._nodes[option.rest].cost
                    if option.cost < node.cost:
                        if node.cost == math.inf:
                            node.height = 1 + max((part.height for part in parts), default=0)
                        node.cost = option.cost
                        changed = True
            if not changed:
                break
        for node in self._nodes:
            for option in node.options:
                heights = [self._nodes[number].height for number in option.children]
                option.height = 1 + max(heights, default=0)

    def _kept(self, number: int) -> list[_Option]:
        """The options that are offered: none of them leads back here."""
        node = self._nodes[number]
        finite = [option for option in node.options if option.cost < math.inf]
        if self._cheapest:
            return [min(finite, key=lambda option: option.cost)]
        # Either the node is not reached again, or the height becomes smaller until one is left by
        # which it is not reached again. So no value has parts without end.
        ending = [
            option
            for option in finite
            if option.height <= node.height
            or not any(number in self._reached(child) for child in option.children)
        ]
        most = 2 * min(option.cost for option in ending) + _SLACK_BYTES
        return [option for option in ending if option.cost <= most]

    def _reached(self, number: int) -> set[int]:
        """The nodes that a node leads to, itself included."""
        if number not in self._below:
            found = {number}
            pending = [number]
            while pending:
                for option in self._nodes[pending.pop()].options:
                    new = set(option.children) - found
                    found |= new
                    pending.extend(new)
            self._below[number] = found
        return self._below[number]

    def _form(self, option: _Option) -> Schema:
        way, schema = option.way, dict(option.way.schema)
        rest = None if option.rest is None else _reference(option.rest)
        if schema.get("type") == "array":
            schema |= array_form([_reference(item) for item in option.items], rest, way.count)
        elif schema.get("type") == "object" and rest is not None:
            schema |= {"minProperties": way.count, "maxProperties": way.count}
            if way.pattern is None:
                schema["additionalProperties"] = rest
            else:
                schema |= {"patternProperties": {way.pattern: rest}, "additionalProperties": False}
        elif schema.get("type") == "object":
            schema |= object_form({name: _reference(n) for name, n in option.members.items()})
        elif self._cheapest and isinstance(schema.get("enum"), list):
            schema["enum"] = [_shortest(schema["enum"])]
        return schema


def object_form(members: Schema) -> Schema:
    """The schema for an object with exactly the given members."""
    return {
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


def array_form(items: list[Schema], rest: Schema | None, count: int) -> Schema:
    """The schema for an array with exactly the given items and `count` more."""
    total = len(items) + count
    form: Schema = {"type": "array", "minItems": total, "maxItems": total}
    if items:
        form["prefixItems"] = items
    if rest is not None:
        form["items"] = rest
    return form


def _shortest(values: object) -> object:
    return min(values if isinstance(values, list) else [], key=lambda value: len(json.dumps(value)))


def _name(number: int) -> str:
    return f"c{number}"


def _reference(number: int) -> Schema:
    return {"$ref": f"#/$defs/{_name(number)}"}
