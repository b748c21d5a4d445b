"""Writes into one place what several parts of a schema say about the same number.

The engine intersects the bounds of such parts itself, but not as JSON Schema says: it allows some
excluded bounds, fails where only fractions are left for an integer, and cuts large constants. So
parts about numbers alone are merged into the object that they apply to, and alternatives get the
bounds around them. Only then is it known what the engine enforces, and where no number is left.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from typing import TYPE_CHECKING

from genir_server.domain.types import Enforcement
from genir_server.schema.errors import invalid, unsupported
from genir_server.schema.read.pointer import child
from genir_server.schema.read.vocabulary import NUMBER_KEYWORDS
from genir_server.schema.relax.number_bounds import (
    INEXACT,
    LITERAL_ADVICE,
    emptiness,
    note_emptiness,
    report,
    write_numbers,
)
from genir_server.schema.relax.number_facts import (
    Numbers,
    all_facts,
    facts_of,
    is_simple,
    listed_values,
)
from genir_server.schema.relax.number_lists import fitting_values, without_alternatives
from genir_server.schema.relax.number_objects import (
    exclude_numbers,
    inline,
    is_large,
    items,
    merge,
    set_members,
    without_bounds,
)
from genir_server.schema.relax.part import Part

if TYPE_CHECKING:
    from genir_server.schema.interval import Interval
    from genir_server.schema.relax.context import Context, EngineSchema

_NOTHING = Numbers()
_IN_PLACE = frozenset({"allOf", "anyOf", "$ref"})
_MAX_OPENED = 500
_MAX_OPENED_OBJECTS = 50
_MAX_PAIRS = 2_000


def combine(context: Context, root: EngineSchema) -> EngineSchema:
    """An engine schema for the same values, with its parts about numbers brought together.

    Args:
        context: the relaxation; it gets notices and refusals.
        root: the schema with its `$defs`; it is not changed.

    """
    if not isinstance(root, dict):
        return root
    combination = _Combination(context, root)
    found = combination.site(root, "")
    definitions = root.get("$defs")
    if isinstance(found, dict) and isinstance(definitions, dict):
        found["$defs"] = {name: combination.site(part, "") for name, part in definitions.items()}
    return found


class _Combination:
    def __init__(self, context: Context, root: dict[str, object]) -> None:
        self._context = context
        self._root = root
        definitions = root.get("$defs")
        self._definitions = definitions if isinstance(definitions, dict) else {}
        self._facts: dict[str, Numbers] = {}
        self._opened = 0

    def site(self, schema: EngineSchema, pointer: str) -> EngineSchema:
        """A schema for a value to which nothing else applies."""
        return self._combined(schema, _NOTHING, pointer)

    def _combined(self, schema: EngineSchema, around: Numbers, pointer: str) -> EngineSchema:
        """A schema for a value to which `around` applies too."""
        if not isinstance(schema, dict):
            return schema
        part = self._flat(schema, around)
        pointer = pointer if part.origin is None else part.origin
        objects = inline(part)
        facts = [facts_of(inner) for inner in objects]
        facts += [self._facts_of_target(inner) for inner in objects if "$ref" in inner]
        together = all_facts(facts, around)
        several = sum(one.says_something for one in facts) + around.says_something > 1
        if together.listed and not together.excluded:
            several = several or len(facts) > 1 or "anyOf" in part
            if several and not self._list(part, together, around, pointer):
                return False
        elif not together.excluded:
            refusal = emptiness(self._context.oracle, together, pointer)
            if refusal is not None:
                note_emptiness(self._context, refusal)
                together = replace(together, excluded=True)
                if not exclude_numbers(part):
                    return False
            elif several and not merge(part, together):
                return False
            elif several or facts[0].says_something:
                write_numbers(self._context, part, together, pointer)
        # A list is reduced where it is; bounds inside still have to be written and reported.
        result = self._inside(part, replace(together, listed=False), pointer)
        if isinstance(result, Part) and not together.only_integers:
            self._check_across(result, pointer)
        return result

    def _target(self, reference: object) -> object:
        for _ in range(16):
            target = self._root if reference == "#" else self._definitions.get(str(reference)[8:])
            if not isinstance(target, dict) or set(target) != {"$ref"}:
                return target
            reference = target["$ref"]
        return None

    def _facts_of_target(self, schema: dict[str, object]) -> Numbers:
        """What the target of a reference says, apart from its alternatives."""
        reference = str(schema["$ref"])
        if reference not in self._facts:
            # In a circle of references each one says what the others do not.
            self._facts[reference] = _NOTHING
            target = self._target(reference)
            objects = inline(target) if isinstance(target, dict) else []
            facts = [facts_of(inner) for inner in objects]
            facts += [self._facts_of_target(inner) for inner in objects if "$ref" in inner]
            self._facts[reference] = all_facts(facts, _NOTHING)
        return self._facts[reference]

    def _flat(self, schema: dict[str, object], around: Numbers) -> Part:
        """A copy with references replaced by their targets, where these are about numbers."""
        part = Part()
        part.become(schema)
        members = []
        for member in items(part, "allOf"):
            inner = member
            while isinstance(inner, dict) and set(inner) == {"allOf"}:
                nested = items(inner, "allOf")
                if len(nested) != 1:
                    break
                inner = nested[0]
            members.append(self._opened_reference(inner))
        if "$ref" in part and (around.says_something or part.keys() - {"$defs", "$ref"}):
            target = self._opened_reference({"$ref": part["$ref"]})
            if isinstance(target, dict) and "$ref" not in target:
                del part["$ref"]
                members.append(target)
        set_members(part, members)
        return part

    def _opened_reference(self, schema: object) -> object:
        if not isinstance(schema, dict) or set(schema) != {"$ref"}:
            return schema
        target = self._target(schema["$ref"])
        if self._opened >= _MAX_OPENED or not self._is_about_numbers(target):
            return schema
        self._opened += 1
        return target

    def _is_about_numbers(self, schema: object) -> bool:
        """Whether bounds elsewhere concern a schema, and it is small enough to be copied."""
        pending, count, speaks = [schema], 0, False
        while pending:
            item = pending.pop()
            count += 1
            if not isinstance(item, dict) or count > _MAX_OPENED_OBJECTS:
                return False
            if not is_simple({key: item[key] for key in item.keys() - _IN_PLACE}):
                return False
            speaks = speaks or facts_of(item).says_something
            pending.extend([*items(item, "allOf"), *items(item, "anyOf")])
            if "$ref" in item:
                pending.append(self._target(item["$ref"]))
        return speaks

    def _list(self, part: Part, together: Numbers, around: Numbers, pointer: str) -> bool:
        """Reduces listed values to those that satisfy the parts beside; False if none is left."""
        draft = self._context.document.draft
        members = items(part, "allOf")
        simple = [member for member in members if isinstance(member, dict) and is_simple(member)]
        rest = [member for member in members if not any(member is one for one in simple)]
        own: dict[str, object] = {
            key: part[key] for key in ("type", "const", "enum") if key in part
        }
        if all(listed_values(schema) is None for schema in (own, *simple)):
            return True
        kept = fitting_values([own, *simple], together, draft)
        if "anyOf" in part:
            fitting = without_alternatives(kept, items(part, "anyOf"), draft)
            if fitting is not None:
                del part["anyOf"]
                kept = fitting
        keyword = "const" if "const" in part else "enum"
        where = child(pointer, keyword)
        fixed = [around]
        for member in rest:
            fixed += map(facts_of, inline(member) if isinstance(member, dict) else [])
        if any(facts.only_integers for facts in fixed) or "$ref" in part:
            # The engine cuts such a constant to 64 bits beside "integer".
            small = [value for value in kept if not is_large(value)]
            if len(small) < len(kept):
                detail = f"without {len(kept) - len(small)} values: {LITERAL_ADVICE}"
                report(self._context, where, Enforcement.NARROWED, detail)
                self._context.refusals.append(
                    unsupported(f"The listed values cannot be answered: {LITERAL_ADVICE}", where)
                )
            kept = small
        if not kept:
            reason = "No value can satisfy the schema: other keywords exclude all values"
            self._context.refusals.append(invalid(reason, where))
            return False
        for key in (*NUMBER_KEYWORDS, "const", "enum", "type"):
            part.pop(key, None)
        part["enum"] = kept
        part.divisor = part.interval = None
        set_members(part, [without_bounds(member, _NOTHING) for member in rest])
        return True

    def _inside(self, part: Part, together: Numbers, pointer: str) -> EngineSchema:
        """Combines the parts of an object for the same value, and those for values inside it."""
        members = [self._combined(m, together, pointer) for m in items(part, "allOf")]
        if any(member is False for member in members):
            return False
        set_members(part, members)
        if "anyOf" in part:
            options = [self._combined(o, together, pointer) for o in items(part, "anyOf")]
            kept = [option for option in options if option is not False]
            if not kept:
                return False
            if any(option is True or option == {} for option in kept):
                del part["anyOf"]
                part.left_out = part.left_out.union(
                    *(option.left_out for option in kept if isinstance(option, Part))
                )
            else:
                part["anyOf"] = kept
        for holder in ("properties", "patternProperties"):
            parts = part.get(holder)
            if isinstance(parts, dict):
                part[holder] = {name: self.site(inner, pointer) for name, inner in parts.items()}
        if "prefixItems" in part:
            part["prefixItems"] = [self.site(i, pointer) for i in items(part, "prefixItems")]
        for holder in ("additionalProperties", "items"):
            inner = part.get(holder)
            if isinstance(inner, dict):
                part[holder] = self.site(inner, pointer)
        return part

    def _check_across(self, part: Part, pointer: str) -> None:
        """Reports bounds of two sets of alternatives that the engine intersects wrongly."""
        groups = []
        for inner in inline(part):
            options = [option for option in items(inner, "anyOf") if isinstance(option, dict)]
            facts = [facts_of(option) for option in options]
            groups.append([f.interval for f in facts if not f.excluded and f.interval.is_bounded])
        for first, second in combinations([group for group in groups if group], 2):
            if len(first) * len(second) > _MAX_PAIRS or any(
                _is_wrong_across(one, other) for one, other in product(first, second)
            ):
                where = child(pointer, "anyOf")
                report(self._context, where, Enforcement.CHECKED_AFTER_DECODING, INEXACT)
                return


def _is_wrong_across(first: Interval, second: Interval) -> bool:
    both = first.intersection(second)
    return not both.is_empty and (both.allows_low_in_engine or both.allows_high_in_engine)
