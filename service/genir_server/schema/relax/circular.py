"""References inside cycles that have other keywords beside them.

The engine follows a reference in a cycle only where it stands alone. So a schema that holds such
a reference beside other keywords gets a definition of its own, in which what the reference names
is written out, one level deep; inside of that, references stand alone again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.vocabulary import ANNOTATIONS, REFERENCES

if TYPE_CHECKING:
    from genir_server.schema.document import Document

_COMBINERS = frozenset({"allOf", "anyOf", "oneOf"})


def mixed_references(document: Document) -> set[str]:
    """Pointers of schemas that combine a reference to something in their own cycle with more."""
    component = _components(document)
    found: set[str] = set()
    for pointer, node in document.nodes.items():
        edges = [edge for edge in node.edges if edge.in_place]
        asserting = node.keywords.keys() - ANNOTATIONS
        for edge in edges:
            target = document.nodes[edge.target]
            if edge.keyword in REFERENCES:
                named = [edge.target]
            elif edge.keyword in _COMBINERS:
                named = [inner.target for inner in target.edges if inner.keyword in REFERENCES]
            else:
                continue
            # Alternatives alone, and a reference alone, meet nothing else.
            alone = len(asserting) == 1 and (edge.keyword != "allOf" or len(edges) == 1)
            if not alone and any(component[name] == component[pointer] for name in named):
                found.add(pointer)
    return found


def _components(document: Document) -> dict[str, str]:
    """A name for the cycle that each schema is part of; schemas in no cycle have their own.

    Two walks, as Kosaraju found: the first orders schemas by when the walk leaves them, the
    second goes against the edges in the opposite order.
    """
    backwards: dict[str, list[str]] = {pointer: [] for pointer in document.nodes}
    for pointer, node in document.nodes.items():
        for edge in node.edges:
            backwards[edge.target].append(pointer)
    component: dict[str, str] = {}
    for start in reversed(_leaving_order(document)):
        pending = [start]
        while pending:
            pointer = pending.pop()
            if pointer not in component:
                component[pointer] = start
                pending.extend(backwards[pointer])
    return component


def _leaving_order(document: Document) -> list[str]:
    order: list[str] = []
    entered: set[str] = set()
    left: set[str] = set()
    for start in document.nodes:
        pending = [start]
        while pending:
            pointer = pending[-1]
            if pointer not in entered:
                entered.add(pointer)
                pending.extend(
                    edge.target
                    for edge in document.nodes[pointer].edges
                    if edge.target not in entered
                )
                continue
            pending.pop()
            if pointer not in left:
                left.add(pointer)
                order.append(pointer)
    return order
