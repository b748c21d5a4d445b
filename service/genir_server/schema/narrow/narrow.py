"""Bounds what a model may write where the schema sets no bound.

Works on an engine schema, in place. Strings, numbers and arrays are bounded everywhere. Objects
are closed, types inferred and free parts bounded only at *standalone* parts: no other part of the
schema applies to the same value, so a bound can contradict only the part's own keywords. Bounds are
raised to twice the largest minimum anywhere in the schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.schema.narrow.containers import bound_array, bound_free_parts, bound_object
from genir_server.schema.narrow.context import Narrowing, Oracle
from genir_server.schema.narrow.numbers import bound_number
from genir_server.schema.narrow.standalone import IN_PLACE, find_parts
from genir_server.schema.narrow.strings import bound_string, undo_unwritable, use_usual_form
from genir_server.schema.read.vocabulary import (
    ARRAY_KEYWORDS,
    NUMBER_KEYWORDS,
    OBJECT_KEYWORDS,
    STRING_KEYWORDS,
)
from genir_server.schema.relax.part import Part

if TYPE_CHECKING:
    from genir_server.domain.types import SchemaNotice
    from genir_server.schema.limits import NarrowingBounds
    from genir_server.schema.narrow.context import Schema
    from genir_server.schema.relax import Relaxed

_KEYWORDS_BY_TYPE = {
    "object": OBJECT_KEYWORDS,
    "array": ARRAY_KEYWORDS,
    "string": STRING_KEYWORDS,
    "number": NUMBER_KEYWORDS,
}


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A narrowed engine schema.

    Attributes:
        schema: the schema.
        notices: what was narrowed.
        enforced: pointers to keywords about numbers that relaxing left out and narrowing enforces.

    """

    schema: Schema | bool
    notices: tuple[SchemaNotice, ...] = ()
    enforced: frozenset[str] = frozenset()


def narrow(relaxed: Relaxed, bounds: NarrowingBounds, oracle: Oracle) -> Narrowed:
    """Narrows the schema of `relaxed` in place.

    Args:
        relaxed: the engine schema; it is changed.
        bounds: what is bounded, and how far.
        oracle: answers of the libraries about this schema.

    Returns:
        The narrowed schema, with a notice for each place that was narrowed.

    """
    if relaxed.schema is False:
        return Narrowed(schema=False)
    narrowing = Narrowing(relaxed, bounds, oracle)
    root: Schema = {} if isinstance(relaxed.schema, bool) else relaxed.schema
    parts, shared = find_parts(root, narrowing.definitions)
    for schema, pointer in parts:
        _narrow_part(narrowing, schema, pointer, whole=id(schema) not in shared)
    undo_unwritable(narrowing, root)
    if not root or set(root) <= {"$defs"}:
        root = {**narrowing.free_value(""), "$defs": narrowing.definitions}
    for schema, _ in parts:
        if isinstance(schema, Part):
            # The same keyword may apply in several places.
            narrowing.enforced -= schema.left_out
    added = narrowing.added.all()
    if added:
        root = {**root, "$defs": {**narrowing.definitions, **added}}
    return Narrowed(root, tuple(narrowing.notices.values()), frozenset(narrowing.enforced))


def _narrow_part(narrowing: Narrowing, schema: Schema, pointer: str, *, whole: bool) -> None:
    """Narrows one part; `whole` is true if no other part applies to the same value."""
    if "const" in schema or "enum" in schema:
        return
    if whole and "type" not in schema and narrowing.bounds.infer_types:
        _infer_type(narrowing, schema, pointer)
    use_usual_form(narrowing, schema, pointer)
    types = schema.get("type")
    names = types if isinstance(types, list) else [types]
    standalone = whole and not any(keyword in schema for keyword in IN_PLACE)
    if "string" in names:
        bound_string(narrowing, schema, pointer)
    if "number" in names or "integer" in names:
        bound_number(narrowing, schema, pointer, standalone=standalone)
    if "array" in names:
        bound_array(narrowing, schema, pointer)
    if standalone:
        if "object" in names:
            bound_object(narrowing, schema, pointer)
        bound_free_parts(narrowing, schema, pointer)


def _infer_type(narrowing: Narrowing, schema: Schema, pointer: str) -> None:
    types = [name for name, keywords in _KEYWORDS_BY_TYPE.items() if keywords & schema.keys()]
    if len(types) == 1 and "$ref" not in schema:
        schema["type"] = types[0]
        narrowing.note(pointer, "type", f"{types[0]}, as the keywords are about that type")
