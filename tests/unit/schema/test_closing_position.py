from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genir_server.schema.closing.position import NoValueError, Position, read_position

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=12,
)
LITERALS = ("true", "false", "null")


def completed(text: bytes, position: Position) -> object:
    """The value that the kept text becomes when everything open is closed."""
    kept = text[: position.kept].decode(errors="surrogatepass")
    if position.scalar is not None:
        begun = text[position.scalar : position.kept].decode()
        if begun.startswith('"'):
            kept += '"'
        elif begun[0] in "tfn":
            kept += next(word for word in LITERALS if word.startswith(begun))[len(begun) :]
        elif not begun[-1].isdigit():
            kept += "0"
    closers = ["}" if frame.is_object else "]" for frame in position.frames]
    return json.loads(kept + "".join(reversed(closers)))


def open_value(value: object, position: Position) -> object:
    """The part of a value in which the frames of a position are."""
    for frame in position.frames:
        done = dict(frame.value) if isinstance(frame.value, dict) else list(frame.value)
        if isinstance(value, dict):
            rest = {key: part for key, part in value.items() if key != frame.key}
            assert rest == done
            if frame.key is None:
                return value
            value = value[frame.key]
        else:
            assert isinstance(value, list)
            if len(value) == len(done):
                assert value == done
                return value
            assert value[:-1] == done
            value = value[-1]
    return value


@given(values, st.booleans(), st.data())
def test_position_of_any_cut(value: object, escaped: bool, data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=escaped, separators=(",", ":")).encode()
    cut = text[: data.draw(st.integers(0, len(text)))]
    position = read_position(cut)
    if not position.kept:
        assert not position.frames
        assert cut[:1] in (b"", b'"', text[:1])
        return
    open_value(completed(cut, position), position)
    if cut == text and not isinstance(value, int | float):
        assert position.is_complete
    left_out = cut[position.kept :]
    if position.scalar is not None:
        # Half a character, an escape, or the first half of a pair of escapes.
        assert len(left_out) < 12
    elif left_out:
        assert left_out[:1] in (b",", b'"')
    if position.is_complete:
        assert position.kept == len(text)
        assert position.scalar is None


@given(values)
def test_a_whole_container_is_complete(value: object) -> None:
    text = json.dumps([value], separators=(",", ":")).encode()
    position = read_position(text)
    assert position.is_complete
    assert position.kept == len(text)
    assert not position.frames


@pytest.mark.parametrize(
    ("text", "kept", "tokens"),
    [
        ('{"a":1', '{"a":1', ["a"]),
        ('{"a":1,', '{"a":1', [None]),
        ('{"a":1,"b', '{"a":1', [None]),
        ('{"a":1,"b"', '{"a":1', [None]),
        ('{"a":1,"b":', '{"a":1', [None]),
        ('{"a":1,"b":[', '{"a":1,"b":[', ["b", 0]),
        ('{"a":1,"b":[true,fa', '{"a":1,"b":[true,fa', ["b", 1]),
        ('["x\\', '["x', [0]),
        ('["x\\u00', '["x', [0]),
        ('["x\\ud83d', '["x', [0]),
        ('["x\\\\ud83d', '["x\\\\ud83d', [0]),
        ('["x\\ud83d\\ude00', '["x\\ud83d\\ude00', [0]),
        ('["x\\ud83d\\ude', '["x', [0]),
        ('["x\\"', '["x\\"', [0]),
        ("[1,-", "[1,-", [1]),
        ("[[],", "[[]", [1]),
    ],
)
def test_kept_part(text: str, kept: str, tokens: list[object]) -> None:
    position = read_position(text.encode())
    assert text.encode()[: position.kept] == kept.encode()
    assert [frame.token for frame in position.frames] == tokens


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_half_a_character_is_left_out(cut: int) -> None:
    whole = '["ab😀'.encode()
    position = read_position(whole[: len(whole) - cut])
    assert position.kept == len(b'["ab')
    assert read_position(whole).kept == len(whole)


@pytest.mark.parametrize(
    "text", ["}", "[}", '{"a"]', "[1 2", "nope", "[NaN,", "[]]", '{"a":}', "{1"]
)
def test_what_begins_no_value_is_refused(text: str) -> None:
    with pytest.raises(NoValueError):
        read_position(text.encode())


def test_depth_and_length_do_not_matter() -> None:
    position = read_position(b"[" * 200_000)
    assert len(position.frames) == 200_000
    position = read_position(b'["' + b"\\n" * 500_000)
    assert position.kept == 1_000_002
