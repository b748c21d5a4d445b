"""The server's packages import only downward, in the order that docs/architecture.md lists."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[2]
SERVER = PROJECT / "service" / "genir_server"
PAGE = PROJECT / "docs" / "architecture.md"

DEPENDENCIES = {
    "vLLM": ("vllm", "torch"),
    "gRPC": ("grpc", "grpc_health", "grpc_reflection", "grpc_status"),
    "protobuf": ("google.protobuf", "genir.v1"),
    "the core": ("genir_server.core",),
    "genir": ("genir", "genir_server"),
}
"""The modules behind each name in the table's column "does not know"."""


@dataclass(frozen=True)
class Row:
    """One row of the table of packages."""

    package: str
    unknown: tuple[str, ...]


def documented() -> list[Row]:
    """The rows of the table of packages, from top to bottom."""
    section = PAGE.read_text().partition("\n## Packages\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)/?` \|[^|]*\|([^|]*)\|$", section, re.MULTILINE)
    return [
        Row(package, tuple(name.strip() for name in unknown.split(",") if name.strip()))
        for package, unknown in rows
    ]


def module_name(path: Path) -> str:
    parts = ("genir_server", *path.relative_to(SERVER).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SERVER.rglob("*.py")}


def package(module: str) -> str:
    """The package of a module of the server, as the table names it."""
    name = module.split(".")[1] if "." in module else "app"
    return "app" if name == "__main__" else name


def parent(module: str) -> str:
    """The package that a module's relative imports start from."""
    return module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]


def imports(module: str) -> Iterator[str]:
    """Every module that a module imports, also late and for type checking only."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=source, names=names, level=level):
                source = resolve_name("." * level + (source or ""), parent(module))
                for name in names:
                    submodule = f"{source}.{name.name}"
                    yield submodule if submodule in MODULES else source


def is_within(module: str, top: str) -> bool:
    return module == top or module.startswith(f"{top}.")


ALL_IMPORTS = [(module, imported) for module in MODULES for imported in imports(module)]
OWN_IMPORTS = [
    (module, imported) for module, imported in ALL_IMPORTS if is_within(imported, "genir_server")
]


def test_page_lists_every_package() -> None:
    found = {package(module) for module in MODULES if module != "genir_server"}
    assert sorted(row.package for row in documented()) == sorted(found)


def test_imports_only_go_down() -> None:
    order = [row.package for row in documented()]
    upward = [
        f"{module} imports {imported}"
        for module, imported in OWN_IMPORTS
        if order.index(package(module)) > order.index(package(imported))
    ]
    assert upward == []


def test_schema_and_engine_do_not_import_each_other() -> None:
    pairs = {(package(module), package(imported)) for module, imported in OWN_IMPORTS}
    assert pairs.isdisjoint({("engine", "schema"), ("schema", "engine")})


def test_modules_have_no_import_cycle() -> None:
    graph: defaultdict[str, set[str]] = defaultdict(set)
    for module, imported in OWN_IMPORTS:
        graph[module].add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("row", documented(), ids=lambda row: row.package)
def test_package_does_not_import_what_the_page_says_it_does_not_know(row: Row) -> None:
    forbidden = [name for unknown in row.unknown for name in DEPENDENCIES[unknown]]
    found = [
        f"{module} imports {imported}"
        for module, imported in ALL_IMPORTS
        if package(module) == row.package
        and any(is_within(imported, name) for name in forbidden)
        and package(imported) != row.package
    ]
    assert found == []


@pytest.mark.parametrize(
    ("dependency", "packages"),
    [
        ("vLLM", {"engine"}),
        # TLS credentials and the context of a call are types of gRPC.
        ("gRPC", {"transport", "auth", "app"}),
        ("protobuf", {"transport"}),
    ],
)
def test_dependency_is_imported_by_its_packages_alone(dependency: str, packages: set[str]) -> None:
    importers = {
        package(module)
        for module, imported in ALL_IMPORTS
        if any(is_within(imported, name) for name in DEPENDENCIES[dependency])
    }
    assert importers <= packages


def test_domain_imports_only_the_standard_library_and_itself() -> None:
    found = {
        imported
        for module, imported in ALL_IMPORTS
        if package(module) == "domain"
        and imported.split(".")[0] not in sys.stdlib_module_names
        and not is_within(imported, "genir_server.domain")
    }
    assert found == set()
