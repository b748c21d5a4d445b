"""Finds references in cycles that have other keywords beside them.

The engine supports a reference in a cycle only without other keywords. So a schema with such a
reference beside other keywords gets a definition of its own, in which the reference is replaced by
its target, one level deep. The references inside have no other keywords again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.read.cycles import cycles
from genir_server.schema.read.vocabulary import ANNOTATIONS, REFERENCES

if TYPE_CHECKING:
    from genir_server.schema.read.document import Document

_COMBINERS = frozenset({"allOf", "anyOf", "oneOf"})


def mixed_references(document: Document) -> set[str]:
    """Pointers of schemas that have a reference into their own cycle beside other keywords."""
    component = cycles(document)
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
            # Only alternatives, or only a reference: nothing else applies to the value.
            alone = len(asserting) == 1 and (edge.keyword != "allOf" or len(edges) == 1)
            if not alone and any(component[name] == component[pointer] for name in named):
                found.add(pointer)
    return found


def recursive_schemas(document: Document) -> set[str]:
    """Pointers of schemas that are in a cycle or lead into one."""
    component = cycles(document)
    backwards: dict[str, list[str]] = {pointer: [] for pointer in document.nodes}
    pending: list[str] = []
    for pointer, node in document.nodes.items():
        for edge in node.edges:
            backwards[edge.target].append(pointer)
            if component[edge.target] == component[pointer]:
                pending.append(pointer)
    found: set[str] = set()
    while pending:
        pointer = pending.pop()
        if pointer not in found:
            found.add(pointer)
            pending.extend(backwards[pointer])
    return found
