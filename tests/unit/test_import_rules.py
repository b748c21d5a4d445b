"""Benches import no tests, tests import no other tests, and shipped code imports neither."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


def imports(folder: str) -> Iterator[tuple[str, str]]:
    """Every import below a folder: the importing file and the imported module."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names):
                    modules = [name.name for name in names]
                case ast.ImportFrom(module=str(module), names=names):
                    # `from tests import support` imports `tests.support`.
                    modules = [f"{module}.{name.name}" for name in names]
                case _:
                    continue
            for module in modules:
                yield str(path.relative_to(ROOT)), module


def test_benches_do_not_import_tests() -> None:
    assert [found for found in imports("bench") if found[1].startswith("tests.")] == []


def test_tests_import_only_shared_code_from_tests() -> None:
    found = [
        (path, module)
        for path, module in imports("tests")
        if module.startswith("tests.") and not module.startswith("tests.support.")
    ]
    assert found == []


@pytest.mark.parametrize("folder", ["clients/python/genir", "service/genir_server"])
def test_shipped_packages_import_neither_benches_nor_tests(folder: str) -> None:
    development = ("bench.", "scripts.", "tests.")
    assert [found for found in imports(folder) if found[1].startswith(development)] == []
