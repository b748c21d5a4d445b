"""Looks names up in the sources of a Python package, without importing it.

It knows classes with their base classes in the same package, functions, assignments, and names that
a module imports from elsewhere in the package. It does not run code, so a name that a package only
makes at run time is missing.
"""

from __future__ import annotations

import ast
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef | ast.Assign | ast.AnnAssign


class MissingError(Exception):
    """The sources lack a name; the message is the name."""


@dataclass(frozen=True)
class Found:
    """The definition of a name, and the module that contains it."""

    module: Module
    node: Definition


class Module:
    """One module of a package.

    Args:
        package: the sources that it belongs to.
        name: its full name.
        path: its file.

    """

    def __init__(self, package: Package, name: str, path: Path) -> None:
        self.package = package
        self.name = name
        self._path = path

    @cached_property
    def names(self) -> dict[str, Definition | str | Module]:
        """What the module defines: a definition, a module, or the full name of an import."""
        tree = _parsed(self._path.read_text(encoding="utf-8"))
        found: dict[str, Definition | str | Module] = {}
        # Only a module that makes its names late has those that it imports for type checking.
        late = "__getattr__" in {getattr(node, "name", "") for node in _flat(tree)}
        for node in _flat(tree, typing=late):
            match node:
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    found[node.name] = node
                case ast.Assign():
                    found |= dict.fromkeys(_targets(node), node)
                case ast.AnnAssign(target=ast.Name(id=name)):
                    found[name] = node
                case ast.ImportFrom():
                    found |= self._imported(node)
                case ast.Import():
                    for alias in node.names:
                        found[alias.asname or alias.name] = alias.name
        return found

    def _imported(self, node: ast.ImportFrom) -> dict[str, Definition | str | Module]:
        parent = self.name if self._path.name == "__init__.py" else self.name.rpartition(".")[0]
        source = resolve_name("." * node.level + (node.module or ""), parent)
        if [alias.name for alias in node.names] == ["*"]:
            module = self.package.module(source)
            return dict(module.names) if module else {}
        return {alias.asname or alias.name: f"{source}:{alias.name}" for alias in node.names}


class Package:
    """The sources of one package.

    Args:
        folder: the folder with its `__init__.py`.

    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """A module by its full name; None if there is none."""
        if name not in self._modules:
            first, *rest = name.split(".")
            base = self._folder.joinpath(*rest)
            paths = [base / "__init__.py", *([base.with_suffix(".py")] if rest else [])]
            path = next(filter(lambda path: path.is_file(), paths), None)
            known = first == self._folder.name and path is not None
            self._modules[name] = Module(self, name, path) if known and path else None
        return self._modules[name]

    def find(self, name: str) -> Found | Module:
        """The module or definition of "package.module" or "package.module:Class.attribute".

        Raises:
            MissingError: the package has none of that name.

        """
        module_name, _, path = name.partition(":")
        module = self.module(module_name)
        if module is None:
            raise MissingError(module_name)
        found: Found | Module = module
        for part in filter(None, path.split(".")):
            found = self._attribute(found, part)
        return found

    def _attribute(self, owner: Found | Module, name: str) -> Found | Module:
        if isinstance(owner, Module):
            target = owner.names.get(name) or self.module(f"{owner.name}.{name}")
            if isinstance(target, Module):
                return target
            if isinstance(target, str):
                return self._follow(target)
            if target is not None:
                return Found(owner, target)
            raise MissingError(f"{owner.name}:{name}")
        kind: Found | None = owner
        if isinstance(owner.node, ast.AnnAssign):
            kind = self._type(owner.module, owner.node.annotation)
        elif isinstance(owner.node, Function):
            # What it returns; nobody looks at attributes of a function itself.
            kind = self._type(owner.module, owner.node.returns)
        if kind is None or not isinstance(kind.node, ast.ClassDef):
            # Nothing is known of it.
            return owner
        return self._class_attribute(kind, name)

    def _class_attribute(self, kind: Found, name: str) -> Found:
        for cls in self.bases(kind):
            for node in cls.node.body if isinstance(cls.node, ast.ClassDef) else ():
                if is_abstract(node) and cls is not kind:
                    continue
                if name in _class_names(node) and isinstance(node, Definition):
                    return Found(cls.module, node)
                if isinstance(node, Function) and name in _set_by(node):
                    given = self._type(cls.module, _annotation_set(node, name))
                    return given or Found(cls.module, node)
        raise MissingError(f"{kind.module.name}:{getattr(kind.node, 'name', '')}.{name}")

    def _type(self, module: Module, annotation: ast.expr | None) -> Found | None:
        """The class that an annotation names, also as one that may be None; else None."""
        match annotation:
            case ast.Constant(value=str(text)):
                return self._type(module, ast.parse(text, mode="eval").body)
            case ast.BinOp(left=left, op=ast.BitOr(), right=ast.Constant(value=None)):
                return self._type(module, left)
            case ast.Name() | ast.Attribute():
                with suppress(MissingError):
                    found = self.find(f"{module.name}:{ast.unparse(annotation)}")
                    is_class = isinstance(found, Found) and isinstance(found.node, ast.ClassDef)
                    return found if isinstance(found, Found) and is_class else None
        return None

    def _follow(self, imported: str) -> Found | Module:
        source, _, name = imported.partition(":")
        # `from package import module` and `import package.module` both name a module.
        module = self.module(f"{source}.{name}") if name else None
        return module or self.find(imported)

    def mentions(self, text: str) -> bool:
        """Whether any module has a text, in whatever way."""
        return any(text in path.read_text("utf-8") for path in self._folder.rglob("*.py"))

    def bases(self, found: Found) -> Iterator[Found]:
        """A class, then its base classes in this package, depth first."""
        yield found
        for base in found.node.bases if isinstance(found.node, ast.ClassDef) else ():
            # A generic base is written with its parameters.
            expression = base.value if isinstance(base, ast.Subscript) else base
            try:
                owner = self.find(f"{found.module.name}:{ast.unparse(expression)}")
            except MissingError:
                continue
            if isinstance(owner, Found):
                yield from self.bases(owner)


def parameters(function: Function) -> tuple[str, ...]:
    """The names of a function's parameters, in the order of `inspect.signature`."""
    given = function.args
    arguments = (
        *given.posonlyargs,
        *given.args,
        *((given.vararg,) if given.vararg else ()),
        *given.kwonlyargs,
        *((given.kwarg,) if given.kwarg else ()),
    )
    return tuple(argument.arg for argument in arguments)


def is_abstract(node: ast.AST) -> bool:
    """Whether a method is abstract."""
    decorators = getattr(node, "decorator_list", [])
    return any("abstractmethod" in ast.unparse(decorator) for decorator in decorators)


def names_used(function: Function) -> set[str]:
    """The names and attributes that a function's own code uses."""
    used: set[str] = set()
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.Attribute):
            used.add(node.attr)
        if not isinstance(node, Function | ast.Lambda):
            pending.extend(ast.iter_child_nodes(node))
    return used


@cache
def _parsed(text: str) -> ast.Module:
    # Two versions have most of their files in common.
    return ast.parse(text)


def _flat(tree: ast.AST, *, typing: bool = True) -> Iterator[ast.stmt]:
    """The statements of a module, with those inside `if`, `try` and `with`, in order."""
    for field in ("body", "handlers", "orelse", "finalbody"):
        if field == "body" and isinstance(tree, ast.If) and not typing and _is_typing(tree.test):
            continue
        for node in getattr(tree, field, ()):
            if isinstance(node, ast.stmt):
                yield node
            if isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler):
                yield from _flat(node, typing=typing)


def _is_typing(test: ast.expr) -> bool:
    return ast.unparse(test).endswith("TYPE_CHECKING")


def _targets(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


@cache
def _set_by(method: Function) -> frozenset[str]:
    """The attributes of its object that a method sets."""
    return frozenset(
        node.attr
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )


def _annotation_set(method: Function, name: str) -> ast.expr | None:
    """The annotation of the parameter that a method stores in an attribute."""
    annotations = {each.arg: each.annotation for each in method.args.args}
    for node in ast.walk(method):
        match node:
            case ast.Assign(
                targets=[ast.Attribute(value=ast.Name(id="self"), attr=attribute)],
                value=ast.Name(id=given),
            ) if attribute == name:
                return annotations.get(given)
    return None


def _class_names(node: ast.stmt) -> list[str]:
    """The names that a statement in a class body defines."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign():
            return _targets(node)
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []
