"""Converts every subschema, innermost first, and assembles the engine schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.domain.types import Enforcement, SchemaNotice
from genir_server.schema.read.pointer import split
from genir_server.schema.read.vocabulary import (
    ANNOTATIONS,
    ASSERTIONS,
    REFERENCES,
    Draft,
    known,
)
from genir_server.schema.relax import arrays, combining, exclusive, numbers, objects, scalars
from genir_server.schema.relax.circular import mixed_references, recursive_schemas
from genir_server.schema.relax.context import Context, EngineSchema, Options, Oracle
from genir_server.schema.relax.part import Part
from genir_server.schema.relax.simplify import simplify
from genir_server.schema.relax.texts import simplify_texts
from genir_server.schema.relax.together import combine
from genir_server.schema.relax.unknown import note_ignored, note_unknown, note_wrapper

if TYPE_CHECKING:
    from genir_server.schema.errors import SchemaRefusedError
    from genir_server.schema.read.document import Document, Node

_MAX_NOTICES = 200
_MAX_NAME_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class Relaxed:
    """An engine schema that accepts every value that the caller's schema accepts.

    Attributes:
        schema: the engine schema, with its definitions in `$defs`. Its objects that stand for a
            subschema of the caller are of the class `Part`.
        notices: keywords that it does not enforce as they stand.
        refusals: why parts of the schema are left out that no answer can satisfy. They explain why
            the whole schema cannot be satisfied, if that is so.

    """

    schema: dict[str, object] | bool
    notices: tuple[SchemaNotice, ...]
    refusals: tuple[SchemaRefusedError, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether the engine schema accepts nothing that the caller's schema refuses."""
        return all(
            notice.enforcement is not Enforcement.CHECKED_AFTER_DECODING for notice in self.notices
        )


_CONVERTERS = (
    numbers.CONVERTERS
    | scalars.CONVERTERS
    | arrays.CONVERTERS
    | objects.CONVERTERS
    | combining.CONVERTERS
)


def relax(
    document: Document,
    oracle: Oracle,
    options: Options | None = None,
    empty: frozenset[str] = frozenset(),
) -> Relaxed:
    """Relaxes a schema that passed `lint`.

    Args:
        document: the schema.
        oracle: answers of the libraries.
        options: which coarser relaxations are used.
        empty: pointers of schemas that no finite value satisfies.

    """
    context = Context(document, oracle, options or Options(), empty=empty)
    if context.options.open_circular or context.options.cut_circular:
        context.mixed = mixed_references(document)
    if context.options.plain_recursion:
        context.recursive = recursive_schemas(document)
    _name_definitions(context)
    # Deeper pointers first, so that the parts of a schema are converted before it.
    ordered = sorted(document.nodes.values(), key=lambda node: -node.pointer.count("/"))
    for node in ordered:
        is_empty = node.pointer in empty
        context.converted[node.pointer] = False if is_empty else _convert(context, node)
    note_wrapper(context)
    exclusive.resolve(context)
    simplify(context)
    for part, pointer in context.opened:
        opened = context.converted[pointer]
        part.become(opened if isinstance(opened, dict) else {} if opened else {"allOf": [False]})
    schema = combine(context, _assemble(context))
    simplify_texts(context, schema)
    return Relaxed(schema, _notices(context), tuple(context.refusals))


def _name_definitions(context: Context) -> None:
    taken: set[str] = set()
    for node in context.document.nodes.values():
        targets = [edge.target for edge in node.edges if edge.keyword in REFERENCES]
        if node.pointer in context.mixed and context.options.open_circular:
            targets.append(node.pointer)
        for target in targets:
            if target not in context.names:
                tokens = split(target)
                last = tokens[-1] if tokens else "root"
                name = "".join(c for c in last if c.isascii() and (c.isalnum() or c in "_-"))
                name = name[:_MAX_NAME_CHARACTERS] or "definition"
                if name in taken:
                    name = f"{name}_{len(taken)}"
                taken.add(name)
                context.names[target] = name


def _convert(context: Context, node: Node) -> EngineSchema:
    if isinstance(node.value, bool):
        return node.value
    draft = context.document.draft
    schema = Part()
    schema.origin = node.pointer
    extra: list[EngineSchema] = []
    alone = draft <= Draft.DRAFT7 and "$ref" in node.value
    if alone:
        note_ignored(context, node)
    for keyword in ("$ref",) if alone else tuple(node.value):
        if keyword in ANNOTATIONS:
            continue
        if keyword not in ASSERTIONS or not known(keyword, draft):
            note_unknown(context, node, keyword)
        elif keyword in REFERENCES:
            combining.reference(context, node, keyword, schema, extra)
        elif keyword in _CONVERTERS:
            _CONVERTERS[keyword](context, node, schema, extra)
    return _joined(schema, extra)


def _joined(schema: Part, extra: list[EngineSchema]) -> EngineSchema:
    extra = [part for part in extra if part is not True]
    if any(part is False for part in extra):
        return False
    if extra:
        alternatives = schema.get("allOf")
        present = alternatives if isinstance(alternatives, list) else []
        schema["allOf"] = [*present, *extra]
    # An empty one may stand for bounds that are still to be reported.
    leaves_out = schema.divisor is not None or schema.interval is not None
    return schema if schema or leaves_out else True


def _assemble(context: Context) -> dict[str, object] | bool:
    root = context.converted[""]
    definitions = {
        name: context.converted[pointer] for pointer, name in context.names.items() if pointer
    }
    if isinstance(root, bool) or not definitions:
        return root
    assembled = Part()
    assembled.become(root)
    assembled["$defs"] = definitions
    return assembled


def _notices(context: Context) -> tuple[SchemaNotice, ...]:
    order = {
        Enforcement.CHECKED_AFTER_DECODING: 0,
        Enforcement.REWRITTEN: 1,
        Enforcement.NARROWED: 2,
        Enforcement.ANNOTATION: 3,
    }
    notices = sorted(context.notices.values(), key=lambda notice: order[notice.enforcement])
    return tuple(notices[:_MAX_NOTICES])
