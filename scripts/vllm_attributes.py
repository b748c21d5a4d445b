"""Finds the attributes that sources use of vLLM's objects, by following the types of names.

A name has a type of vLLM where an annotation says so, where it is an annotated field or attribute
of one of our classes, or where it is assigned from such a name, from a call of a class or method of
vLLM, or from a call of one of our functions whose annotation says so. The types of attributes and
results are followed by `python_sources`. What has no type here, such as the elements of a list, is
not found: `vllm_uses.OBJECTS` names it.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_Function = ast.FunctionDef | ast.AsyncFunctionDef
ANY_CLASS = frozenset({"vllm.tokenizers:TokenizerLike"})
"""Types whose objects are of many classes, with attributes that the type does not name."""


@dataclass(frozen=True)
class AttributeUse:
    """An attribute, as "module:Class.attribute.attribute"; with the arguments of a call."""

    name: str
    positional: int = 0
    keywords: tuple[str, ...] = ()


@dataclass
class OwnTypes:
    """What our sources say of types of vLLM.

    Attributes:
        fields: the type of each annotated field, by "Class.field".
        returns: the type of what a function returns, by its name.

    """

    fields: dict[str, str] = field(default_factory=dict)
    returns: dict[str, str] = field(default_factory=dict)

    def read(self, tree: ast.Module) -> None:
        """Adds what a module says."""
        imported = vllm_imports(tree)
        for node in ast.walk(tree):
            if isinstance(node, _Function) and (found := _annotated(node.returns, imported)):
                self.returns[node.name] = found
            if isinstance(node, ast.ClassDef):
                self._read_class(node, imported)

    def _read_class(self, owner: ast.ClassDef, imported: Mapping[str, str]) -> None:
        for node in ast.walk(owner):
            match node:
                case ast.AnnAssign(target=ast.Name(id=name)):
                    pass
                case ast.AnnAssign(target=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                    pass
                case _:
                    continue
            if found := _annotated(node.annotation, imported):
                self.fields[f"{owner.name}.{name}"] = found


def vllm_imports(tree: ast.Module) -> dict[str, str]:
    """What a module imports from vLLM: "module:name" by the name that it has here."""
    return {
        each.asname or each.name: f"{node.module}:{each.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        for each in node.names
        if node.module.split(".", maxsplit=1)[0] == "vllm"
    }


def attribute_uses(tree: ast.Module, own: OwnTypes) -> Iterator[AttributeUse]:
    """Every attribute and method of vLLM's objects that a module uses."""
    imported = vllm_imports(tree)
    yield from _Scope(imported, own, {}, "").uses(tree.body)


class _Scope:
    """The types of names in a function, which those in it inherit."""

    def __init__(
        self, imported: Mapping[str, str], own: OwnTypes, names: dict[str, str], owner: str
    ) -> None:
        self._imported = imported
        self._own = own
        self._names = dict(names)
        self._owner = owner

    def uses(self, body: list[ast.stmt]) -> Iterator[AttributeUse]:
        for statement in body:
            yield from self._visit(statement)

    def _visit(self, node: ast.AST) -> Iterator[AttributeUse]:
        match node:
            case ast.ClassDef():
                inner = _Scope(self._imported, self._own, self._names, node.name)
                yield from inner.uses(node.body)
                return
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                inner = _Scope(self._imported, self._own, self._names, self._owner)
                inner.take_parameters(node)
                yield from inner.uses(node.body)
                return
            case ast.Assign():
                for target in node.targets:
                    self._assign(target, node.value)
            case ast.AnnAssign(target=ast.Name(id=name)):
                self._set(name, _annotated(node.annotation, self._imported))
            case ast.NamedExpr():
                self._assign(node.target, node.value)
            case ast.Call(func=ast.Attribute() as function) if owner := self._type(function.value):
                yield AttributeUse(
                    f"{owner}.{function.attr}",
                    sum(not isinstance(each, ast.Starred) for each in node.args),
                    tuple(each.arg for each in node.keywords if each.arg),
                )
            case ast.Attribute() if owner := self._type(node.value):
                yield AttributeUse(f"{owner}.{node.attr}")
        for child in ast.iter_child_nodes(node):
            yield from self._visit(child)

    def take_parameters(self, function: _Function) -> None:
        given = function.args
        for each in (*given.posonlyargs, *given.args, *given.kwonlyargs):
            own_class = each.annotation.id if isinstance(each.annotation, ast.Name) else ""
            self._set(each.arg, _annotated(each.annotation, self._imported) or f"own:{own_class}")

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        match target, value:
            case ast.Name(id=name), _:
                self._set(name, self._type(value))
            case ast.Tuple(elts=targets), ast.Tuple(elts=values):
                for each, given in zip(targets, values, strict=False):
                    self._assign(each, given)
            case ast.Attribute(value=ast.Name(id="self"), attr=name), _ if found := self._type(
                value
            ):
                self._own.fields.setdefault(f"{self._owner}.{name}", found)

    def _set(self, name: str, found: str) -> None:
        self._names[name] = "" if found in ANY_CLASS else found

    def _type(self, node: ast.expr) -> str:
        """The type of an expression, as "module:Class.attribute"; "" if it is not vLLM's."""
        found = self._any_type(node)
        return "" if found.startswith("own:") or found in ANY_CLASS else found

    def _any_type(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name):
                known = self._names.get(name) or self._imported.get(name, "")
                return f"own:{self._owner}" if name == "self" else known
            case ast.Attribute(value=value, attr=name):
                owner = self._any_type(value)
                own = self._own.fields.get(f"{owner.removeprefix('own:')}.{name}", "")
                return own if owner.startswith("own:") or not owner else f"{owner}.{name}"
            case ast.Await(value=value) | ast.NamedExpr(value=value):
                return self._any_type(value)
            case ast.Call(func=ast.Attribute() as function):
                return self._any_type(function)
            case ast.Call(func=ast.Name(id=name)):
                return self._imported.get(name) or self._own.returns.get(name, "")
        return ""


def _annotated(annotation: ast.expr | None, imported: Mapping[str, str]) -> str:
    """The type of vLLM that an annotation names, also as one that may be None."""
    match annotation:
        case ast.Name(id=name):
            return imported.get(name, "")
        case ast.BinOp(left=left, op=ast.BitOr(), right=ast.Constant(value=None)):
            return _annotated(left, imported)
    return ""
