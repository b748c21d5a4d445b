"""JSON Pointers (RFC 6901)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def escape(token: str | int) -> str:
    """A token as part of a pointer."""
    text = str(token)
    if "~" in text or "/" in text:
        return text.replace("~", "~0").replace("/", "~1")
    return text


def unescape(token: str) -> str:
    """The key or index that a token of a pointer stands for."""
    return token.replace("~1", "/").replace("~0", "~")


def child(pointer: str, *tokens: str | int) -> str:
    """The pointer to something inside the place of `pointer`."""
    for token in tokens:
        pointer = f"{pointer}/{escape(token)}"
    return pointer


def join(tokens: Iterable[str | int]) -> str:
    """The pointer made of tokens."""
    return "".join(f"/{escape(token)}" for token in tokens)


def split(pointer: str) -> list[str]:
    """The tokens of a pointer.

    Raises:
        ValueError: it is neither empty nor begins with a slash.

    """
    if not pointer:
        return []
    if not pointer.startswith("/"):
        raise ValueError("a JSON Pointer begins with a slash")
    return [unescape(token) for token in pointer[1:].split("/")]


def lookup(value: object, pointer: str) -> object:
    """The part of `value` that a pointer refers to.

    Raises:
        KeyError: there is no such part.

    """
    try:
        tokens = split(pointer)
    except ValueError as fault:
        raise KeyError(pointer) from fault
    for token in tokens:
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif isinstance(value, list) and token.isdecimal() and int(token) < len(value):
            value = value[int(token)]
        else:
            raise KeyError(pointer)
    return value
