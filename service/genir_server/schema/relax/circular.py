"""References inside cycles that have other keywords beside them.

The engine follows a reference in a cycle only where it stands alone. So a schema that holds such
a reference beside other keywords gets a definition of its own, in which what the reference names
is written out, one level deep; inside of that, references stand alone again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.read.cycles import cycles
from genir_server.schema.read.vocabulary import ANNOTATIONS, REFERENCES

if TYPE_CHECKING:
    from genir_server.schema.read.document import Document

_COMBINERS = frozenset({"allOf", "anyOf", "oneOf"})


def mixed_references(document: Document) -> set[str]:
    """Pointers of schemas that combine a reference to something in their own cycle with more."""
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
            # Alternatives alone, and a reference alone, meet nothing else.
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
