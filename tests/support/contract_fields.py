"""Walks the descriptors of `genir.v1`: its fields, sample values, and messages that set them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    Path = tuple[FieldDescriptor, ...]

PACKAGE = "genir.v1"
NEW_FIELD = "new_field"
"""Name of the field that `with_new_field` adds."""

_SCALARS: dict[int, list[Any]] = {
    FieldDescriptor.CPPTYPE_BOOL: [True, False],
    FieldDescriptor.CPPTYPE_DOUBLE: [0.5, 0.25],
    FieldDescriptor.CPPTYPE_FLOAT: [0.5, 0.25],
    FieldDescriptor.CPPTYPE_INT32: [1, 2],
    FieldDescriptor.CPPTYPE_INT64: [1, 2],
    FieldDescriptor.CPPTYPE_STRING: ["one", "two"],
    FieldDescriptor.CPPTYPE_UINT32: [1, 2],
    FieldDescriptor.CPPTYPE_UINT64: [1, 2],
}


def name_of(path: Path) -> str:
    """A path as people write it, such as ``spec.conversation.messages.role``."""
    return ".".join(field.name for field in path)


def leaf_paths(message_class: type[Message]) -> Iterator[Path]:
    """Every path from a message to a value: a scalar, a map, or a message of another package."""
    yield from _leaf_paths(message_class.DESCRIPTOR)


def _leaf_paths(descriptor: Any, *start: FieldDescriptor) -> Iterator[Path]:
    for field in descriptor.fields:
        held = _held(field)
        if held is None:
            yield (*start, field)
        else:
            yield from _leaf_paths(held, *start, field)


def field_names(message_class: type[Message]) -> set[str]:
    """Full names of the fields of a message and of the messages that it can hold."""
    return {field.full_name for path in leaf_paths(message_class) for field in path}


def set_fields(message: Message) -> set[str]:
    """Full names of the fields that are set in a message and in the messages that it holds."""
    names: set[str] = set()
    for field, value in message.ListFields():
        names.add(field.full_name)
        if _held(field) is not None:
            for held in value if field.is_repeated else [value]:
                names |= set_fields(held)
    return names


def samples(field: FieldDescriptor) -> list[Any]:
    """At least two different values of one item of a field, of which one is not the default."""
    message, enum = field.message_type, field.enum_type
    if message is not None and message.GetOptions().map_entry:
        values = samples(message.fields_by_name["value"])
        return [{"INTERNAL": value} for value in values]
    if message is not None:
        return [_seconds(message, number) for number in (1, 2)]
    if enum is not None:
        return [value.number for value in enum.values if value.number]
    return _SCALARS[field.cpp_type]


def assign(message: Message, path: Path, value: Any) -> None:
    """Sets the value at the end of a path. A repeated field on the way gets one item at least."""
    for field in path[:-1]:
        held = getattr(message, field.name)
        if field.is_repeated:
            message = held[0] if held else held.add()
        else:
            held.SetInParent()
            message = held
    last = path[-1]
    if last.message_type is not None and last.message_type.GetOptions().map_entry:
        getattr(message, last.name).update(value)
    elif last.is_repeated:
        message.ClearField(last.name)
        getattr(message, last.name).append(value)
    elif last.message_type is not None:
        getattr(message, last.name).CopyFrom(value)
    else:
        setattr(message, last.name, value)


def with_new_field(message_class: type[Message], owner: str) -> type[Message]:
    """The same message in a contract in which the message `owner` has one more field.

    Nobody but the caller knows that contract, so that the field is one that all others ignore.
    """
    pool = descriptor_pool.DescriptorPool()
    for file in _with_dependencies(message_class.DESCRIPTOR.file):
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        for message in proto.message_type:
            if f"{proto.package}.{message.name}" == owner:
                message.field.add(
                    name=NEW_FIELD,
                    number=999,
                    type=descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
                    label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
                )
        pool.Add(proto)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName(message_class.DESCRIPTOR.full_name)
    )


def _held(field: FieldDescriptor) -> Any:
    """The descriptor of the contract's message that a field holds; None for any other field."""
    message = field.message_type
    if message is None or message.file.package != PACKAGE or message.GetOptions().map_entry:
        return None
    return message


def _seconds(descriptor: Descriptor, seconds: int) -> Message:
    """A Duration or a Timestamp."""
    message: Any = message_factory.GetMessageClass(descriptor)()
    message.FromSeconds(seconds)
    return message  # type: ignore[no-any-return] # Any, for a method that only these two have.


def _with_dependencies(file: Any) -> Iterable[Any]:
    """A file and what it imports, imports first, each once."""
    files: dict[str, Any] = {}
    for dependency in file.dependencies:
        files |= {each.name: each for each in _with_dependencies(dependency)}
    return [*files.values(), file]
