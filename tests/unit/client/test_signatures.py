"""The blocking and the asyncio client offer the same methods with the same parameters."""

from __future__ import annotations

import inspect

import pytest

from genir import AsyncIRClient, AsyncIRStream, IRClient, IRStream

# The name of a method of the asyncio class, where it differs.
RENAMED = {"close": "aclose", "__enter__": "__aenter__", "__exit__": "__aexit__"}
RENAMED |= {"__iter__": "__aiter__", "__next__": "__anext__"}


def own_callables(kind: type) -> set[str]:
    return {
        name
        for base in kind.__mro__[:-1]
        for name, value in vars(base).items()
        if callable(value) and (not name.startswith("_") or name in RENAMED)
    }


PAIRS = [(IRClient, AsyncIRClient), (IRStream, AsyncIRStream)]


@pytest.mark.parametrize(("blocking", "asyncio"), PAIRS)
def test_both_classes_have_the_same_methods(blocking: type, asyncio: type) -> None:
    names = own_callables(blocking)
    renamed = set(RENAMED.values())
    theirs = {
        name
        for base in asyncio.__mro__[:-1]
        for name, value in vars(base).items()
        if callable(value) and (not name.startswith("_") or name in renamed)
    }
    assert {RENAMED.get(name, name) for name in names} == theirs


def plain(annotation: object) -> str:
    return (
        str(annotation).replace("AsyncIRStream", "IRStream").replace("AsyncGenerator", "Generator")
    )


@pytest.mark.parametrize(
    ("blocking", "asyncio", "name"),
    [(a, b, name) for a, b in PAIRS for name in sorted(own_callables(a) | {"__init__"})],
)
def test_parameters_are_equal(blocking: type, asyncio: type, name: str) -> None:
    one = inspect.signature(getattr(blocking, name))
    other = inspect.signature(getattr(asyncio, RENAMED.get(name, name)))
    assert [(p.name, p.kind, p.default, plain(p.annotation)) for p in one.parameters.values()] == [
        (p.name, p.kind, p.default, plain(p.annotation)) for p in other.parameters.values()
    ]
    assert plain(one.return_annotation) == plain(other.return_annotation)


@pytest.mark.parametrize(
    ("blocking", "asyncio", "name"),
    [(a, b, name) for a, b in PAIRS for name in sorted(own_callables(a))],
)
def test_docstrings_are_equal(blocking: type, asyncio: type, name: str) -> None:
    one, other = getattr(blocking, name), getattr(asyncio, RENAMED.get(name, name))
    assert inspect.getdoc(one) == inspect.getdoc(other)
