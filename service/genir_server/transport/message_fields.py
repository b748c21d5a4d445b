"""Refuses messages of very many fields before protobuf parses them, which would take long.

Parsing holds up the whole server. Time and memory grow with the number of fields: 16 MiB of empty
entries are 8 million objects. Here the fields are only counted, up to the limit, and texts are
skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.domain.errors import invalid_field

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

MAX_FIELDS = 1_000
"""Fields of a message, those of nested messages included. Valid requests have about 800 at most."""

_VARINT, _FIXED_64, _LENGTH, _START, _END, _FIXED_32 = range(6)
_FIXED_SIZES = {_FIXED_64: 8, _FIXED_32: 4, _START: 0, _END: 0}
_MAX_VARINT_BYTES = 10
# Each byte of a number but its last is at least this.
_MORE_BYTES = 0x80


def check_field_count(raw: bytes, message: Descriptor) -> None:
    """Refuses a message of more than `MAX_FIELDS` fields.

    What is malformed is left to protobuf: it reads no further than this does.

    Args:
        raw: the encoded message.
        message: its type.

    Raises:
        GenirError: INVALID_FIELD; it names the field at which the limit was passed.
    """
    if len(raw) <= MAX_FIELDS:
        return
    count = 0
    # Where a message goes on, where it ends, its type and its path.
    stack: list[tuple[int, int, Descriptor, str]] = [(0, len(raw), message, "")]
    # Descriptors are slow to ask.
    known: dict[str, dict[int, FieldDescriptor]] = {}
    while stack:
        position, end, kind, path = stack.pop()
        fields = known.get(kind.full_name)
        if fields is None:
            fields = known[kind.full_name] = {field.number: field for field in kind.fields}
        while position < end:
            tag, position = _varint(raw, position, end)
            value, wire_type = 0, tag & 7
            if wire_type in (_VARINT, _LENGTH):
                value, position = _varint(raw, position, end)
            elif wire_type not in _FIXED_SIZES:
                break
            if position > end:
                break
            count += 1
            field = fields.get(tag >> 3)
            if count > MAX_FIELDS:
                raise invalid_field(
                    _joined(path, field) or kind.name,
                    f"makes the message one of more than {MAX_FIELDS} fields, the maximum",
                )
            start = position
            position += value if wire_type == _LENGTH else _FIXED_SIZES.get(wire_type, 0)
            if wire_type == _LENGTH and field is not None and field.message_type is not None:
                stack.append((position, end, kind, path))
                # What is cut short is read as far as it goes.
                inner = min(position, end)
                stack.append((start, inner, field.message_type, _joined(path, field)))
                break


def _joined(path: str, field: FieldDescriptor | None) -> str:
    return path if field is None else f"{path}.{field.name}".lstrip(".")


def _varint(raw: bytes, position: int, end: int) -> tuple[int, int]:
    """A number and the position after it; a position beyond `end` if it is malformed."""
    if position < end and raw[position] < _MORE_BYTES:
        return raw[position], position + 1
    value = 0
    for index, byte in enumerate(raw[position : min(end, position + _MAX_VARINT_BYTES)]):
        value |= (byte & 0x7F) << 7 * index
        if byte < _MORE_BYTES:
            return value, position + index + 1
    return 0, end + 1
