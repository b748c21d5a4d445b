"""Finds the cycles among the schemas of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genir_server.schema.read.document import Document


def cycles(document: Document) -> dict[str, str]:
    """A name for the cycle of each schema, by pointer; a schema in no cycle has its own name.

    Kosaraju's algorithm: the first walk orders schemas by when it leaves them, the second follows
    the edges backwards in the opposite order.
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
