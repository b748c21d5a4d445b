"""Invalid input: arbitrary bytes, damaged messages, and arbitrary field values."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

from genir.v1 import generation_pb2, ir_service_pb2
from genir_server.domain.limits import RequestLimits
from tests.support.strategies import schemas

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

OWN = "/genir.v1.IRService"
SMALL_SCHEMA = '{"type":"object","properties":{"a":{"type":"boolean"}},"required":["a"]}'

_INT32 = st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-2, 5))
_INT64 = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-2, 5))
_NASTY = st.sampled_from(
    [
        "",
        "\0",
        "\u202e",
        "\ud7ff",
        "\n" * 50,
        "{{",
        "{% for x in y %}",
        "<|im_end|>",
        "<|endoftext|>" * 9,
        "../../etc/passwd",
        "😀" * 200,
        "a" * 9000,
    ]
)
_TEXT = st.one_of(st.text(max_size=60), _NASTY)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
_SCHEMA = st.one_of(
    schemas.map(json.dumps),
    _JSON.map(json.dumps),
    _TEXT,
    st.integers(1, 400).map(lambda depth: "[" * depth + "]" * depth),
    st.integers(1, 200).map(lambda depth: '{"items":' * depth + "true" + "}" * depth),
    st.sampled_from(
        [
            '{"$ref":"#"}',
            '{"$ref":"file:///etc/passwd"}',
            '{"pattern":"(a+)+$"}',
            '{"pattern":"("}',
            '{"type":"string","maxLength":1e300}',
            '{"type":"string","minLength":-1}',
            '{"enum":[]}',
            '{"multipleOf":0}',
            '{"multipleOf":1e-300}',
            '{"const":1e999}',
            '{"$schema":"x"}',
            '{"%llguidance":{}}',
            '{"x-guidance":{"whitespace_pattern":"("}}',
            '{"format":"regex"}',
            '{"properties":{"\\ud800":true}}',
        ]
    ),
)
# Values for fields whose random values would almost never be valid.
_HINTS: dict[str, st.SearchStrategy[Any]] = {
    "json_schema": _SCHEMA,
    "json_schemas": _SCHEMA,
    "schema_digest": st.one_of(_TEXT, st.just("sha256:" + "0" * 64)),
    "model": st.one_of(st.sampled_from(["", "tiny"]), _TEXT),
    "max_tokens": st.one_of(st.integers(1, 24), _INT32),
    "request_id": st.one_of(st.just(""), _TEXT),
    # A forced warm-up generates up to 2,048 tokens. Damaged messages force enough of them.
    "force": st.just(False),
}


def messages(descriptor: Descriptor, build: type[Message]) -> st.SearchStrategy[Message]:
    """Messages of one type with arbitrary fields set to arbitrary values."""
    fields = {field.name: _values(field) for field in descriptor.fields}
    chosen: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries({}, optional=fields)
    return chosen.map(lambda values: build(**_one_of_each(descriptor, values)))


def _one_of_each(descriptor: Descriptor, values: dict[str, Any]) -> dict[str, Any]:
    kept = dict(values)
    for oneof in descriptor.oneofs:
        given = [field.name for field in oneof.fields if field.name in kept]
        for name in given[1:]:
            del kept[name]
    return kept


def _values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    one: st.SearchStrategy[Any]
    if field.name in _HINTS:
        one = _HINTS[field.name]
    elif field.message_type is not None:
        build: Any = field.message_type._concrete_class  # type: ignore[attr-defined]
        one = messages(field.message_type, build)
    else:
        one = {
            FieldDescriptor.TYPE_DOUBLE: st.one_of(st.floats(), st.floats(0, 1)),
            FieldDescriptor.TYPE_STRING: _TEXT,
            FieldDescriptor.TYPE_BOOL: st.booleans(),
            FieldDescriptor.TYPE_INT64: _INT64,
        }.get(field.type, _INT32)
    return st.lists(one, max_size=4) if field.is_repeated else one


def _plausible(changes: Message) -> generation_pb2.GenerationSpec:
    """A valid request with some fields replaced, so that many reach the engine."""
    spec = generation_pb2.GenerationSpec(prompt="hi", json_schema=SMALL_SCHEMA, max_tokens=16)
    spec.MergeFrom(changes)  # type: ignore[arg-type]
    return spec


_ARBITRARY = messages(generation_pb2.GenerationSpec.DESCRIPTOR, generation_pb2.GenerationSpec)
_FEW = st.sampled_from(list(generation_pb2.GenerationSpec.DESCRIPTOR.fields)).flatmap(
    lambda field: _values(field).map(
        lambda value: generation_pb2.GenerationSpec(**{field.name: value})
    )
)
_legal_fields: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "prompt": st.text(min_size=1, max_size=40).filter(str.strip),
        "json_schema": st.one_of(schemas.map(json.dumps), _SCHEMA),
        "max_tokens": st.integers(1, 24),
    },
    optional={
        "system": st.text(max_size=40),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1, exclude_min=True),
        "top_k": st.one_of(st.integers(0, 60_000), st.just(2**31 - 1)),
        "min_p": st.floats(0, 1),
        "seed": st.integers(0, 2**63 - 1),
        "frequency_penalty": st.floats(-2, 2),
        "presence_penalty": st.floats(-2, 2),
        "repetition_penalty": st.floats(0.01, 2),
        "priority": st.integers(-1000, 1000),
        "max_attempts": st.integers(1, 5),
        "schema_in_prompt": st.integers(0, 3),
        "prompt_format": st.integers(0, 2),
    },
)
_LEGAL: st.SearchStrategy[Any] = _legal_fields.map(
    lambda fields: generation_pb2.GenerationSpec(**fields)
)

specs: st.SearchStrategy[Any] = st.one_of(
    _LEGAL, _FEW.map(_plausible), _ARBITRARY.map(_plausible), _LEGAL, _ARBITRARY
)
"""Valid but unusual specs, specs with one or many changed fields, and arbitrary specs."""

_CHECKS = messages(ir_service_pb2.CheckSchemaRequest.DESCRIPTOR, ir_service_pb2.CheckSchemaRequest)
_TOO_MANY = [SMALL_SCHEMA] * (RequestLimits().max_warmup_schemas + 1)
_WARM_UPS: st.SearchStrategy[Message] = st.one_of(
    messages(ir_service_pb2.WarmupRequest.DESCRIPTOR, ir_service_pb2.WarmupRequest),
    st.lists(_SCHEMA, min_size=1, max_size=4).map(
        lambda texts: ir_service_pb2.WarmupRequest(json_schemas=texts)
    ),
    st.just(ir_service_pb2.WarmupRequest(json_schemas=_TOO_MANY)),
)


def _calls_of(
    method: str, requests: st.SearchStrategy[Any]
) -> st.SearchStrategy[tuple[str, bytes]]:
    """The path of a method with bytes to send there."""
    return st.tuples(
        st.just(f"{OWN}/{method}"), requests.map(lambda request: request.SerializeToString())
    )


calls: st.SearchStrategy[tuple[str, bytes]] = st.one_of(
    _calls_of("GenerateIR", specs.map(lambda spec: ir_service_pb2.GenerateIRRequest(spec=spec))),
    _calls_of("StreamIR", specs.map(lambda spec: ir_service_pb2.StreamIRRequest(spec=spec))),
    _calls_of("CheckSchema", _CHECKS),
    _calls_of("Warmup", _WARM_UPS),
)
"""Calls of every method with a schema, all equally often."""


class Damage:
    """Damages bytes. The same seed gives the same damage."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - not a secret.

    def inputs(self) -> tuple[str, bytes]:
        """Path of a method and bytes to send there."""
        path, good = self._random.choice(_GOOD)
        if self._random.random() < 0.3:
            return path, self._random.randbytes(self._random.choice((0, 1, 2, 5, 17, 300)))
        return path, self._damaged(good)

    def _damaged(self, good: bytes) -> bytes:
        data = bytearray(good)
        for _ in range(self._random.randint(1, 4)):
            at = self._random.randrange(len(data) + 1)
            match self._random.randrange(6):
                case 0 if at < len(data):
                    data[at] ^= 1 << self._random.randrange(8)
                case 1:
                    del data[at:]
                case 2:
                    data[at:at] = self._random.randbytes(self._random.randint(1, 6))
                case 3:
                    data += data[:at]
                case 4 if at < len(data):
                    data[at] = self._random.choice((0, 0x7F, 0x80, 0xFF))
                case _:
                    # A varint longer than any valid one.
                    data[at:at] = b"\xff" * self._random.randint(1, 11)
        return bytes(data)


def _good_inputs() -> list[tuple[str, bytes]]:
    spec = generation_pb2.GenerationSpec(
        conversation=generation_pb2.Conversation(
            messages=[
                generation_pb2.Message(role=generation_pb2.ROLE_USER, content="what is it?"),
            ]
        ),
        json_schema=SMALL_SCHEMA,
        max_tokens=12,
        seed=7,
        temperature=0.5,
        request_id="fuzz",
    )
    generate = ir_service_pb2.GenerateIRRequest(spec=spec).SerializeToString()
    check = ir_service_pb2.CheckSchemaRequest(
        json_schema=SMALL_SCHEMA, include_engine_schema=True
    ).SerializeToString()
    warm_up = ir_service_pb2.WarmupRequest(json_schemas=[SMALL_SCHEMA, "true"]).SerializeToString()
    return [
        (f"{OWN}/GenerateIR", generate),
        (f"{OWN}/GenerateIR", generate),
        (f"{OWN}/StreamIR", generate),
        (f"{OWN}/StreamIR", generate),
        (f"{OWN}/Health", b"\x08\x00"),
        (f"{OWN}/Warmup", b"\x08\x00"),
        (f"{OWN}/Warmup", warm_up),
        (f"{OWN}/CheckSchema", check),
        (f"{OWN}/NoSuchMethod", generate),
        ("/grpc.health.v1.Health/Check", b"\x0a\x09readiness"),
        ("/grpc.health.v1.Health/Watch", b"\x0a\x09readiness"),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", b"\x3a\x00"),
        (
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            b"\x1a\x15grpc.health.v1.Health",
        ),
    ]


_GOOD = _good_inputs()
