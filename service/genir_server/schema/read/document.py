"""A schema as a graph: subschemas, and the edges to those that they contain or refer to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urljoin

from genir_server.schema.errors import invalid, unsupported
from genir_server.schema.read import drafts
from genir_server.schema.read.pointer import child, lookup, split
from genir_server.schema.read.vocabulary import (
    DEFINITIONS,
    IN_PLACE,
    LISTS_OF_SUBSCHEMAS,
    LITERALS,
    MAPS_OF_SUBSCHEMAS,
    REFERENCES,
    SINGLE_SUBSCHEMAS,
    Draft,
    known,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Keyword, entry of the keyword's object or array, pointer and subschema.
_Part = tuple[str, str | int | None, str, dict[str, object] | bool]

_META_SCHEMA_HOSTS = ("http://json-schema.org/draft-", "https://json-schema.org/draft")


@dataclass(frozen=True, slots=True)
class Edge:
    """A link from a schema to one that it applies.

    Attributes:
        keyword: the keyword that applies it.
        key: the entry of the keyword's object or array; None if the keyword has one schema.
        target: pointer of the schema that is applied.
        in_place: whether it applies to the same value, rather than to a part of it.

    """

    keyword: str
    key: str | int | None
    target: str
    in_place: bool


@dataclass(slots=True)
class Node:
    """One schema in the document.

    Attributes:
        pointer: where it is in the caller's text.
        value: the schema.
        base: the base URI of its references.
        edges: the schemas it applies, in the order of its keywords.
        meta_references: keywords that refer to a meta-schema outside the document.

    """

    pointer: str
    value: dict[str, object] | bool
    base: str
    edges: list[Edge] = field(default_factory=list)
    meta_references: list[str] = field(default_factory=list)
    _targets: dict[tuple[str, str | int | None], str] | None = None

    @property
    def keywords(self) -> dict[str, object]:
        """The schema as an object; a boolean schema has no keywords."""
        return self.value if isinstance(self.value, dict) else {}

    def target(self, keyword: str, key: str | int | None = None) -> str | None:
        """Pointer of the schema that a keyword applies; None if there is none."""
        if self._targets is None:
            self._targets = {}
            for edge in self.edges:
                self._targets.setdefault((edge.keyword, edge.key), edge.target)
        return self._targets.get((keyword, key))


class Document:
    """The subschemas that a schema's root reaches.

    Attributes:
        root: the parsed schema.
        draft: the draft it is written in.
        nodes: what the root reaches, by pointer, in the order of a depth-first walk that
            follows references.

    Raises:
        SchemaRefusedError: a reference points outside the schema (SCHEMA_UNSUPPORTED) or has no
            target (SCHEMA_INVALID).

    """

    def __init__(self, root: dict[str, object] | bool, draft: Draft) -> None:
        self.root = root
        self.draft = draft
        self.nodes: dict[str, Node] = {}
        self._bases: dict[str, str] = {}
        self._values: dict[str, dict[str, object] | bool] = {}
        self._parts: dict[str, list[_Part]] = {}
        self._resources: dict[str, str] = {"": ""}
        self._anchors: dict[tuple[str, str], str] = {}
        self._dynamic_anchors: dict[str, list[str]] = {}
        self._recursive_anchors: list[str] = []
        self._made_by_references = False
        self._scan("", root, "")
        self._reach()
        if self._made_by_references:
            self._refuse_schemas_in_literals()

    def _scan(self, pointer: str, value: object, base: str) -> None:
        """Registers the identifiers and base URIs of a schema and of all its subschemas."""
        pending = [(pointer, value, base)]
        while pending:
            where, schema, base = pending.pop()
            if where in self._bases or not isinstance(schema, dict | bool):
                continue
            if isinstance(schema, dict):
                base = self._identify(where, schema, base)
            self._bases[where] = base
            self._values[where] = schema
            if isinstance(schema, dict):
                parts = self._parts[where] = list(_subschemas(where, schema))
                pending.extend((target, sub, base) for _, _, target, sub in parts)

    def _identify(self, where: str, schema: dict[str, object], base: str) -> str:
        legacy = self.draft <= Draft.DRAFT7
        if legacy and "$ref" in schema:
            return base
        identifier = schema.get("id" if self.draft is Draft.DRAFT4 else "$id")
        if isinstance(identifier, str) and identifier:
            uri, fragment = urldefrag(_joined(base, identifier))
            if identifier.startswith("#"):
                if legacy:
                    self._anchors.setdefault((base, fragment), where)
            else:
                base = uri
                self._resources.setdefault(uri, where)
                if fragment and legacy:
                    self._anchors.setdefault((base, fragment), where)
        if not legacy:
            for keyword in ("$anchor", "$dynamicAnchor"):
                name = schema.get(keyword)
                if isinstance(name, str):
                    self._anchors.setdefault((base, name), where)
                    if keyword == "$dynamicAnchor":
                        self._dynamic_anchors.setdefault(name, []).append(where)
            if schema.get("$recursiveAnchor") is True:
                self._recursive_anchors.append(where)
        if where == "":
            self._resources.setdefault(base, where)
        return base

    def _reach(self) -> None:
        pending = [""]
        while pending:
            pointer = pending.pop()
            if pointer in self.nodes:
                continue
            value = self._values[pointer]
            node = Node(pointer, value, self._bases[pointer])
            self.nodes[pointer] = node
            if isinstance(value, dict):
                node.edges = list(self._edges(node, value))
                pending.extend(edge.target for edge in reversed(node.edges))

    def _edges(self, node: Node, schema: dict[str, object]) -> Iterator[Edge]:
        only_reference = self.draft <= Draft.DRAFT7 and isinstance(schema.get("$ref"), str)
        parts: dict[str, list[_Part]] = {}
        for part in self._parts[node.pointer]:
            parts.setdefault(part[0], []).append(part)
        for keyword in ("$ref",) if only_reference else schema:
            if keyword in REFERENCES and known(keyword, self.draft):
                reference = schema[keyword]
                if not isinstance(reference, str):
                    raise invalid(f"{keyword} must be a string", child(node.pointer, keyword))
                target = self._resolve(reference, node, keyword)
                if target is None:
                    node.meta_references.append(keyword)
                else:
                    yield Edge(keyword, None, target, in_place=True)
            elif keyword not in DEFINITIONS and known(keyword, self.draft):
                in_place = keyword in IN_PLACE
                for _, key, target, _ in parts.get(keyword, ()):
                    yield Edge(keyword, key, target, in_place=in_place)

    def _resolve(self, reference: str, node: Node, keyword: str) -> str | None:
        """The pointer to the target of a reference; None for a meta-schema."""
        where = child(node.pointer, keyword)
        uri, fragment = urldefrag(_joined(node.base, reference))
        fragment = unquote(fragment)
        if uri not in self._resources:
            if uri.startswith(_META_SCHEMA_HOSTS):
                return None
            raise unsupported(
                f"$ref {reference[:100]!r} points outside the schema, and nothing is fetched:"
                " put its target into $defs",
                where,
            )
        start = self._resources[uri]
        if fragment and not fragment.startswith("/"):
            found = self._anchors.get((uri, fragment))
            if found is None:
                raise invalid(f"{keyword} {reference[:100]!r} refers to an unknown anchor", where)
            return found
        target = start + fragment
        if target.endswith("/"):
            target = target.rstrip("/") if fragment == "/" and not start else target
        try:
            value = lookup(self.root, target)
        except KeyError:
            raise invalid(
                f"{keyword} {reference[:100]!r} has no target in the schema", where
            ) from None
        if not isinstance(value, dict | bool):
            raise invalid(
                f"{keyword} {reference[:100]!r} refers to something that is not a schema", where
            )
        if target not in self._bases:
            # No keyword makes this place a schema, so the meta-schema has not checked it.
            if isinstance(value, dict):
                drafts.check(value, self.draft, target)
            self._made_by_references = True
            self._scan(target, value, uri)
        return target

    def _refuse_schemas_in_literals(self) -> None:
        """Refuses references that make a schema of a part of `const` or `enum`.

        The verifier's form of the schema would change the literal.
        """
        for pointer in self._values:
            place = ""
            for token in split(pointer):
                holder, place = self._values.get(place), child(place, token)
                if token in LITERALS and isinstance(holder, dict) and known(token, self.draft):
                    raise unsupported(
                        f"A reference makes a schema of a value in {token}: put a copy of the value"
                        " into $defs, and refer to the copy",
                        pointer,
                    )

    @property
    def schemas(self) -> Mapping[str, dict[str, object] | bool]:
        """Every schema that a keyword or a reference makes one, by pointer, reached or not."""
        return self._values

    def is_dynamic(self, node: Node, keyword: str) -> bool:
        """Whether the target of a reference depends on the schemas that led to it."""
        if keyword == "$dynamicRef":
            name = urldefrag(str(node.keywords[keyword])).fragment
            return len(self._dynamic_anchors.get(name, ())) > 1
        target = node.target(keyword)
        # The outermost schema with `$recursiveAnchor` takes the place of one that has it, too.
        return (
            keyword == "$recursiveRef"
            and target in self._recursive_anchors
            and len(self._recursive_anchors) > 1
        )


def _joined(base: str, reference: str) -> str:
    if reference.startswith("#"):
        return urldefrag(base).url + reference
    try:
        return urljoin(base, reference)
    except ValueError:
        return reference


def _subschemas(pointer: str, schema: dict[str, object]) -> Iterator[_Part]:
    """The direct subschemas of a schema: keyword, entry, pointer and subschema."""
    for keyword, value in schema.items():
        if isinstance(value, dict) and keyword in MAPS_OF_SUBSCHEMAS:
            for key, sub in value.items():
                if isinstance(sub, dict | bool):
                    yield keyword, key, child(pointer, keyword, key), sub
        elif isinstance(value, list) and keyword in LISTS_OF_SUBSCHEMAS:
            for index, sub in enumerate(value):
                if isinstance(sub, dict | bool):
                    yield keyword, index, child(pointer, keyword, index), sub
        elif isinstance(value, dict | bool) and keyword in SINGLE_SUBSCHEMAS:
            yield keyword, None, child(pointer, keyword), value
