"""Bounds what a model may write where the schema sets no bound, or, to be brief, a wide one.

Works on an engine schema, in place. Strings, numbers and arrays are bounded wherever they are;
objects are closed, types inferred and what is free is filled only at *values*: at parts that no
other part of the schema applies to as well, so that nothing is contradicted but the part's own
keywords. Bounds are stretched to twice the largest minimum found anywhere in the schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.domain.types import Enforcement, SchemaNotice
from genir_server.schema.narrow.definitions import AddedDefinitions
from genir_server.schema.narrow.standalone import IN_PLACE, find_parts
from genir_server.schema.read.pointer import child
from genir_server.schema.read.vocabulary import (
    ARRAY_KEYWORDS,
    NUMBER_KEYWORDS,
    OBJECT_KEYWORDS,
    STRING_KEYWORDS,
)
from genir_server.schema.relax.formats import USUAL_FORMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.schema.limits import NarrowingBounds
    from genir_server.schema.relax import Relaxed

Schema = dict[str, object]

_MOST_ITEMS = 1_000
_MAY_DEMAND_PROPERTIES = {
    "minProperties",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "if",
    "allOf",
}
_ROOM_FOR_CONTAINED = 24
_KINDS = {
    "object": OBJECT_KEYWORDS,
    "array": ARRAY_KEYWORDS,
    "string": STRING_KEYWORDS,
    "number": NUMBER_KEYWORDS,
}
_UNBOUNDED_FORMAT = "uri"


def narrow(
    relaxed: Relaxed,
    bounds: NarrowingBounds,
    compiles: Callable[[Schema], bool],
    matches: Callable[[str, str], bool],
) -> tuple[Schema | bool, tuple[SchemaNotice, ...]]:
    """Narrows the schema of `relaxed` in place.

    Args:
        relaxed: the engine schema; it is changed.
        bounds: what is bounded, and how far.
        compiles: whether the engine takes a small schema by itself.
        matches: whether a regular expression is found in a text; True when that cannot be told.

    Returns:
        The narrowed schema and a notice for each place that was narrowed.

    """
    return _Narrowing(relaxed, bounds, compiles, matches).run()


class _Narrowing:
    def __init__(
        self,
        relaxed: Relaxed,
        bounds: NarrowingBounds,
        compiles: Callable[[Schema], bool],
        matches: Callable[[str, str], bool],
    ) -> None:
        self._schema = relaxed.schema
        self._origins = relaxed.origins
        self._capped = relaxed.capped
        self._divisors = relaxed.divisors
        self._formats = relaxed.formats
        self._bounds = bounds
        self._compiles = compiles
        self._matches = matches
        # What the verifier still demands there may take properties that nothing names.
        self._wanting = {
            notice.pointer.rpartition("/")[0]
            for notice in relaxed.notices
            if notice.enforcement is Enforcement.CHECKED_AFTER_DECODING
            and notice.keyword in _MAY_DEMAND_PROPERTIES
        }
        # And there items that nothing tells of. Several such may each want some of their own.
        self._holders = [
            notice.pointer.rpartition("/")[0] + "/"
            for notice in relaxed.notices
            if notice.enforcement is Enforcement.CHECKED_AFTER_DECODING
            and notice.keyword == "contains"
        ]
        self._notices: dict[tuple[str, str], SchemaNotice] = {}
        definitions = self._schema.get("$defs") if isinstance(self._schema, dict) else None
        self._named: Schema = definitions if isinstance(definitions, dict) else {}
        self._added = AddedDefinitions(self._named, bounds)
        self._least: dict[str, int] = {}

    def run(self) -> tuple[Schema | bool, tuple[SchemaNotice, ...]]:
        if self._schema is False:
            return False, ()
        root: Schema = {} if isinstance(self._schema, bool) else self._schema
        self._measure(root)
        values, shared = find_parts(root, self._named, self._origins)
        for schema, pointer in values:
            self._narrow(schema, pointer, whole=id(schema) not in shared)
        if not root or set(root) <= {"$defs"}:
            root = {**self._free(""), "$defs": self._named}
        added = self._added.all()
        if added:
            root = {**root, "$defs": {**self._named, **added}}
        return root, tuple(self._notices.values())

    def _measure(self, root: Schema) -> None:
        """Finds the largest minimum of each kind."""
        pending: list[object] = [root]
        seen: set[int] = set()
        while pending:
            item = pending.pop()
            if isinstance(item, dict | list):
                if id(item) in seen:
                    continue
                seen.add(id(item))
            if isinstance(item, list):
                pending.extend(item)
            elif isinstance(item, dict):
                for keyword in ("minLength", "minItems", "minProperties"):
                    value = item.get(keyword)
                    if isinstance(value, int):
                        self._least[keyword] = max(value, self._least.get(keyword, 0))
                pending.extend(item.values())

    def _note(self, pointer: str, keyword: str, detail: str) -> None:
        where = child(pointer, keyword) if keyword else pointer
        self._notices[where, keyword] = SchemaNotice(keyword, where, Enforcement.NARROWED, detail)

    def _narrow(self, schema: Schema, pointer: str, *, whole: bool) -> None:
        if "const" in schema or "enum" in schema:
            return
        if whole and "type" not in schema and self._bounds.infer_types:
            self._infer_type(schema, pointer)
        self._use_usual_form(schema, pointer)
        types = schema.get("type")
        names = types if isinstance(types, list) else [types]
        alone = whole and not any(keyword in schema for keyword in IN_PLACE)
        if "string" in names:
            self._bound_string(schema, pointer)
        if "number" in names or "integer" in names:
            self._bound_number(schema, pointer, fraction=alone and "number" in names)
        if "array" in names:
            self._bound_array(schema, pointer)
        if alone:
            if "object" in names:
                self._bound_object(schema, pointer)
            self._fill(schema, pointer)

    def _infer_type(self, schema: Schema, pointer: str) -> None:
        kinds = [kind for kind, keywords in _KINDS.items() if keywords & schema.keys()]
        if len(kinds) == 1 and "$ref" not in schema:
            schema["type"] = kinds[0]
            self._note(pointer, "type", f"{kinds[0]}, as the keywords are about that type")

    def _use_usual_form(self, schema: Schema, pointer: str) -> None:
        name = self._formats.get(id(schema))
        if name is None:
            return
        form, detail = USUAL_FORMS[name]
        least, own = form.get("maxLength"), schema.get("maxLength")
        schema.update(form)
        if isinstance(least, int) and isinstance(own, int):
            schema["maxLength"] = min(least, own)
        self._note(pointer, "format", detail)

    def _bound_string(self, schema: Schema, pointer: str) -> None:
        if schema.get("format", _UNBOUNDED_FORMAT) != _UNBOUNDED_FORMAT:
            return
        pattern = schema.get("pattern")
        if id(schema) in self._formats or (isinstance(pattern, str) and not _open_ended(pattern)):
            return
        usual = self._bounds.string_characters
        if pattern is not None:
            usual = self._bounds.pattern_characters or usual
        most = max(usual, 2 * self._least.get("minLength", 0))
        if "maxLength" in schema and (
            "pattern" in schema or self._keeps(schema["maxLength"], most)
        ):
            return
        schema["maxLength"] = most
        self._note(pointer, "maxLength", f"at most {most} characters")

    def _bound_number(self, schema: Schema, pointer: str, *, fraction: bool) -> None:
        most = 10**self._bounds.integer_digits - 1
        low = {"minimum", "exclusiveMinimum"} & schema.keys()
        high = {"maximum", "exclusiveMaximum"} & schema.keys()
        edges = [schema[keyword] for keyword in (*low, *high)]
        if any(isinstance(edge, int | float) and abs(edge) >= most for edge in edges):
            return
        divisor = self._divisors.get(id(schema))
        if divisor is not None:
            schema["multipleOf"] = divisor
            self._note(pointer, "multipleOf", "only numbers from 0 up")
            if not low:
                schema["minimum"] = 0
        elif not low:
            schema["minimum"] = -most
            self._note(pointer, "minimum", f"at least {-most}")
        if not high:
            schema["maximum"] = most
            self._note(pointer, "maximum", f"at most {most}")
        # The engine takes no negative number for a multiple of anything.
        positive = any(isinstance(edge, int | float) and edge >= 0 for edge in edges[: len(low)])
        if not fraction or "multipleOf" in schema:
            return
        digits = self._bounds.fraction_digits
        short = float(f"1e-{digits}")
        if positive:
            schema["multipleOf"] = short
            self._note(pointer, "multipleOf", f"at most {digits} decimal places")
        elif self._bounds.over_own_bounds and _reaches_up(schema):
            for keyword in low:
                del schema[keyword]
            schema["minimum"] = 0
            schema["multipleOf"] = short
            self._note(
                pointer, "multipleOf", f"at most {digits} decimal places, only numbers from 0 up"
            )

    def _bound_array(self, schema: Schema, pointer: str) -> None:
        prefix = schema.get("prefixItems")
        named = len(prefix) if isinstance(prefix, list) else 0
        most = max(self._bounds.array_items, named, 2 * self._least.get("minItems", 0))
        if any(holder.startswith(f"{pointer}/") for holder in self._holders):
            most = max(most, _ROOM_FOR_CONTAINED)
        if "maxItems" in schema and self._keeps(schema["maxItems"], most):
            return
        if id(schema) in self._capped and not self._bounds.over_own_bounds:
            most = min(self._capped[id(schema)], max(_MOST_ITEMS, self._least.get("minItems", 0)))
        schema["maxItems"] = most
        self._note(pointer, "maxItems", f"at most {most} items")

    def _bound_object(self, schema: Schema, pointer: str) -> None:
        properties = schema.get("properties")
        named: Schema = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        demanded = required if isinstance(required, list) else []
        rest = schema.get("additionalProperties", True)
        least = self._least.get("minProperties", 0)
        if self._bounds.single_keys and not named and not demanded and least <= 1:
            # Keys may be open by their patterns alone, too.
            schema["maxProperties"] = min(1, _count(schema.get("maxProperties", 1)))
            # A schema of which nothing is told counts as not narrowed.
            self._note(pointer, "maxProperties", "at most one property")
            return
        if rest is False:
            return
        undescribed = [name for name in demanded if name not in named]
        if (
            (named or (demanded and self._bounds.single_keys))
            and (
                self._bounds.single_keys
                or ("additionalProperties" not in schema and self._bounds.close_objects)
            )
            and "patternProperties" not in schema
            and pointer not in self._wanting
            and least <= sum(part is not False for part in named.values()) + len(undescribed)
        ):
            if undescribed:
                each = self._added.shared(rest) if len(undescribed) > 1 else rest
                schema["properties"] = {**named, **dict.fromkeys(undescribed, each)}
            schema["additionalProperties"] = False
            self._note(pointer, "additionalProperties", "only the properties that are named")
            return
        most = max(self._bounds.map_properties, 2 * least)
        most += len(named) + len(demanded)
        if "maxProperties" in schema and self._keeps(schema["maxProperties"], most):
            return
        skeleton: Schema = {
            "type": "object",
            "properties": dict.fromkeys(named, True),
            "required": demanded,
            "maxProperties": most,
        }
        if self._compiles(skeleton):
            schema["maxProperties"] = most
            self._note(pointer, "maxProperties", f"at most {most} properties")

    def _keeps(self, own: object, most: int) -> bool:
        """Whether a bound of the schema's own stays as it is."""
        return not self._bounds.over_own_bounds or not isinstance(own, int) or own <= most

    def _fill(self, schema: Schema, pointer: str) -> None:
        """Bounds parts that may be anything."""
        types = schema.get("type")
        names = types if isinstance(types, list) else [types]
        if "object" in names and schema.get("additionalProperties", True) is True:
            schema["additionalProperties"] = self._free(child(pointer, "additionalProperties"))
        if "array" in names and schema.get("items", True) in (True, {}):
            prefix = schema.get("prefixItems")
            if not isinstance(prefix, list) or schema.get("maxItems", len(prefix) + 1) != len(
                prefix
            ):
                schema["items"] = self._free(child(pointer, "items"))
        patterns = schema.get("patternProperties")
        for holder in ("properties", "patternProperties"):
            parts = schema.get(holder)
            if isinstance(parts, dict):
                for key, part in parts.items():
                    if part in (True, {}) and not (
                        holder == "properties" and self._is_patterned(key, patterns)
                    ):
                        parts[key] = self._free(child(pointer, holder, key))
        prefix = schema.get("prefixItems")
        if isinstance(prefix, list):
            for index, part in enumerate(prefix):
                if part in (True, {}):
                    prefix[index] = self._free(child(pointer, "prefixItems", index))

    def _is_patterned(self, name: str, patterns: object) -> bool:
        """Whether a pattern takes in a named property too.

        The pattern's schema bounds it then, and is more than the engine can add to another if it is
        recursive.
        """
        return isinstance(patterns, dict) and any(self._matches(each, name) for each in patterns)

    def _free(self, pointer: str) -> Schema:
        self._note(pointer, "", "any value, of bounded size")
        return self._added.free()


def _reaches_up(schema: Schema) -> bool:
    """Whether numbers above 0 are within the bounds of a schema."""
    edges = (schema.get("maximum"), schema.get("exclusiveMaximum"))
    return not any(isinstance(edge, int | float) and edge <= 0 for edge in edges)


def _count(value: object) -> int:
    return value if isinstance(value, int) else 1


def _open_ended(pattern: str) -> bool:
    """Whether a regular expression may match texts of any length."""
    anchored = pattern.startswith("^") and pattern.endswith("$") and not pattern.endswith("\\$")
    return not anchored or any(sign in pattern for sign in ("*", "+", ",}"))
