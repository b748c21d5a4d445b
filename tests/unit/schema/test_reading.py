from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.limits import SchemaLimits
from genir_server.schema.read import drafts, reader
from genir_server.schema.read.vocabulary import Draft

LIMITS = SchemaLimits()
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**30), 10**30),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=4
        ),
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), json_values))
def test_json_objects_are_read_unchanged(value: dict[str, object]) -> None:
    for ascii_only in (True, False):
        assert reader.read(json.dumps(value, ensure_ascii=ascii_only), LIMITS) == value


@given(st.text(max_size=60))
def test_any_text_is_read_as_json_or_refused(text: str) -> None:
    value: object = None
    with contextlib.suppress(SchemaRefusedError):
        value = reader.read(text, LIMITS)
    # If it is read, then as the standard library reads it.
    assert value is None or value == json.loads(text)


@given(st.integers(1, 150))
def test_brackets_in_strings_do_not_count_as_nesting(depth: int) -> None:
    text = '{"[[\\"{":' * depth + "1" + "}" * depth
    if depth <= LIMITS.nesting:
        assert isinstance(reader.read(text, LIMITS), dict)
    else:
        with pytest.raises(SchemaRefusedError, match=f"nesting is {depth}"):
            reader.read(text, LIMITS)


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ('{"a": 1, "b": [[], [1, {"c": [[]]}]]}', "/b/1/1/c"),
        ('{"a": {"b": {"c": {"d": {"e": 5}}}}}', "/a/b/c/d"),
        # Names are unescaped, and a comma in a name is no separator.
        ('{"x/y": {"~": {"a,b": {"\\u00e9": [[]]}}}}', "/x~1y/~0/a,b/\u00e9"),
        # Names that are no valid Unicode or no JSON stay as written.
        ('{"\\ud800": {"\\q": {"c": {"d": [[]]}}}}', "/\\ud800/\\q/c/d"),
        ("[} {[[[[[", "//0/0/0"),
    ],
)
def test_too_deep_nesting_is_reported_with_its_pointer(text: str, pointer: str) -> None:
    with pytest.raises(SchemaRefusedError) as caught:
        reader.read(text, SchemaLimits(nesting=4))
    assert caught.value.metadata["pointer"] == pointer


@pytest.mark.parametrize(
    ("schema", "draft"),
    [
        ({}, Draft.DRAFT202012),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, Draft.DRAFT4),
        ({"$schema": "http://json-schema.org/draft-06/schema"}, Draft.DRAFT6),
        ({"$schema": "https://json-schema.org/draft-07/schema#"}, Draft.DRAFT7),
        ({"$schema": "https://json-schema.org/draft/2019-09/schema"}, Draft.DRAFT201909),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema"}, Draft.DRAFT202012),
        ({"$schema": "http://json-schema.org/schema#"}, Draft.DRAFT202012),
        ({"items": [{}]}, Draft.DRAFT201909),
        ({"minimum": 1, "exclusiveMinimum": True}, Draft.DRAFT4),
    ],
)
def test_draft_is_detected(schema: dict[str, object], draft: Draft) -> None:
    assert drafts.detect(schema) is draft


def test_unknown_meta_schema_is_unsupported() -> None:
    with pytest.raises(SchemaRefusedError, match="drafts 4, 6, 7"):
        drafts.detect({"$schema": "http://json-schema.org/draft-03/schema#"})
