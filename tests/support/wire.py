"""Random bytes that look like a protobuf message: many decode, some do not."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

_MAX_NESTING = 3
_NUMBERS = st.one_of(
    st.integers(0, 9),
    st.sampled_from([2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, 315_576_000_000]),
    st.integers(0, 2**64 - 1),
)
_DOUBLES = st.one_of(st.floats(), st.floats(0, 9)).map(lambda value: struct.pack("<d", value))
_TEXTS = st.one_of(
    st.text(max_size=20).map(str.encode),
    st.sampled_from(
        [b"1", b"{}", b"[NaN]", b'{"a":1,"a":1}', b'["\\ud800"]', b"[" * 5000, b"sha256:ab"]
    ),
    st.binary(max_size=9),
)


def wire(descriptor: Descriptor, nesting: int = 0) -> st.SearchStrategy[bytes]:
    """Bytes with some of a message's fields in any order, and a few of no message."""
    fields = [_field(field, nesting) for field in descriptor.fields]
    known = st.lists(st.one_of(fields), max_size=6).map(b"".join)
    return known if nesting else st.one_of(known, known, known, st.binary(max_size=30))


def _field(field: FieldDescriptor, nesting: int) -> st.SearchStrategy[bytes]:
    value: st.SearchStrategy[bytes]
    if field.message_type is not None:
        inner: Any = field.message_type
        value = wire(inner, nesting + 1) if nesting < _MAX_NESTING else st.just(b"")
        return value.map(lambda data: _prefixed(field, data))
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return _TEXTS.map(lambda data: _prefixed(field, data))
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return _DOUBLES.map(lambda data: _varint(field.number << 3 | 1) + data)
    return _NUMBERS.map(lambda number: _varint(field.number << 3) + _varint(number))


def _prefixed(field: FieldDescriptor, data: bytes) -> bytes:
    return _varint(field.number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])
