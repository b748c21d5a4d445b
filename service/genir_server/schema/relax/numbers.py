"""Converts keywords about numbers, and leaves out the numbers that no answer can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.domain.numbers import FIRST_WITH_EXPONENT, MAX_INTEGER, can_be_answered
from genir_server.domain.types import Enforcement
from genir_server.schema.errors import unsupported
from genir_server.schema.interval import exact, interval_of
from genir_server.schema.read.pointer import child
from genir_server.schema.read.vocabulary import Draft, known
from genir_server.schema.relax.number_bounds import (
    BOUNDS,
    LITERAL_ADVICE,
    emptiness,
    note_emptiness,
    whole,
    write_bounds,
)
from genir_server.schema.relax.number_facts import NUMBER_TYPES, Numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.schema.read.document import Node
    from genir_server.schema.relax.context import Context, EngineSchema
    from genir_server.schema.relax.part import Part

OTHERS = ["null", "boolean", "string", "array", "object"]


def _bound(keyword: str) -> Callable[..., None]:
    def convert(context: Context, node: Node, schema: Part, extra: list[EngineSchema]) -> None:
        # All four together, for the first of them.
        is_first = keyword == next(name for name in node.keywords if name in BOUNDS)
        if is_first and not _lists_values(context, node):
            _bounds(context, node, schema, extra)

    return convert


def _bounds(context: Context, node: Node, schema: Part, extra: list[EngineSchema]) -> None:
    divisor = node.keywords.get("multipleOf")
    numbers = Numbers(
        interval_of(node.keywords, node.pointer),
        _only_integers(node),
        exact(divisor) if isinstance(divisor, int | float) else None,
    )
    refusal = emptiness(context.oracle, numbers, node.pointer)
    if refusal is None:
        write_bounds(context.oracle, schema, numbers.tightest)
        return
    note_emptiness(context, refusal)
    types = _types(node)
    extra.append(False if types and types <= set(NUMBER_TYPES) else {"type": OTHERS})


def _types(node: Node) -> set[object]:
    declared = node.keywords.get("type", [])
    return set(declared) if isinstance(declared, list) else {declared}


def _multiple_of(context: Context, node: Node, schema: Part, _: list[EngineSchema]) -> None:
    if _lists_values(context, node):
        return
    value = node.keywords["multipleOf"]
    assert isinstance(value, int | float)  # noqa: S101 - the meta-schema was checked
    low = interval_of(node.keywords).low
    schema.divisor_at = child(node.pointer, "multipleOf")
    if low is not None and low >= 0:
        schema["multipleOf"] = whole(value)
    else:
        # The engine accepts no negative number as a multiple.
        schema.divisor = value


def _enum(
    context: Context, node: Node, schema: dict[str, object], extra: list[EngineSchema]
) -> None:
    values = node.keywords["enum"]
    assert isinstance(values, list)  # noqa: S101 - the meta-schema was checked
    possible = [value for value in values if _can_be_written(context, value)]
    if len(possible) < len(values):
        count = len(values) - len(possible)
        detail = f"without {count} of {len(values)} values: {LITERAL_ADVICE}"
        context.note(node, "enum", Enforcement.NARROWED, detail)
    if values and not possible:
        context.refusals.append(
            unsupported(
                f"No value of enum can be answered: {LITERAL_ADVICE}", child(node.pointer, "enum")
            )
        )
    fitting = [whole(value) for value in possible if _fits(context, node, value)]
    if fitting or not values:
        schema["enum"] = fitting
    else:
        extra.append(False)


def _const(
    context: Context, node: Node, schema: dict[str, object], extra: list[EngineSchema]
) -> None:
    value = node.keywords["const"]
    if not _can_be_written(context, value):
        context.note(
            node, "const", Enforcement.NARROWED, f"no answer can hold it: {LITERAL_ADVICE}"
        )
        context.refusals.append(
            unsupported(f"const cannot be answered: {LITERAL_ADVICE}", child(node.pointer, "const"))
        )
        extra.append(False)
    elif not _fits(context, node, value):
        extra.append(False)
    else:
        schema["const"] = whole(value)


def _can_be_written(context: Context, value: object) -> bool:
    """Whether an answer can hold a value, and the engine writes its numbers as they are."""
    if not can_be_answered(value):
        return False
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, int) and abs(item) > MAX_INTEGER:
            pending.append(float(item))
        elif isinstance(item, float) and not context.oracle.writes(item):
            return False
    return True


def _only_integers(node: Node) -> bool:
    types = _types(node)
    return "integer" in types and "number" not in types


def _lists_values(context: Context, node: Node) -> bool:
    """Whether `enum` or `const` lists the values, so that other keywords only remove some."""
    draft = context.document.draft
    return "enum" in node.keywords or ("const" in node.keywords and known("const", draft))


def lists_large_number(context: Context, node: Node) -> bool:
    """Whether `enum` or `const` has a number that is written with an exponent."""
    if not _lists_values(context, node):
        return False
    values = [node.keywords.get("const"), *_list(node.keywords.get("enum"))]
    return any(
        isinstance(value, int | float) and abs(value) >= FIRST_WITH_EXPONENT for value in values
    )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _fits(context: Context, node: Node, value: object) -> bool:
    """Whether a value satisfies the other keywords about numbers.

    The grammar compiler does not combine all of them with constants.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    if _only_integers(node):
        # In draft 4 a number with an exponent is no integer.
        too_large = context.document.draft is Draft.DRAFT4 and abs(value) >= FIRST_WITH_EXPONENT
        if too_large or exact(value).denominator != 1:
            return False
    divisor = node.keywords.get("multipleOf")
    if isinstance(divisor, int | float) and (exact(value) / exact(divisor)).denominator != 1:
        return False
    return interval_of(node.keywords).contains(value)


CONVERTERS: dict[str, Callable[..., None]] = {
    "const": _const,
    "enum": _enum,
    **{keyword: _bound(keyword) for keyword in BOUNDS},
    "multipleOf": _multiple_of,
}
