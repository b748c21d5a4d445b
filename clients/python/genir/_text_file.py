"""Decodes the text of a file, whatever mark it starts with. Pure."""

from __future__ import annotations

import codecs

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def text_of(data: bytes) -> str:
    """The text of a file: UTF-8, or what its byte order mark says. The mark is no part of it.

    Raises:
        UnicodeDecodeError: the bytes are not in that encoding.

    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    return data.decode(encoding)
