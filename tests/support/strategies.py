"""Small schemas and values, chosen so that values are often valid."""

from __future__ import annotations

from hypothesis import strategies as st

NAMES = ("a", "b", "c")
TEXTS = ("", "a", "b", "ab", "abc")

Schema = dict[str, object] | bool

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 6),
    st.sampled_from([0.5, 1.5, -2.25]),
    st.sampled_from(TEXTS),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    ),
    max_leaves=6,
)
names = st.lists(st.sampled_from(NAMES), max_size=2, unique=True)
small = st.integers(0, 3)


def _keywords(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    several = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(st.sampled_from(NAMES), inner, max_size=2)
    types = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
    keywords: dict[str, st.SearchStrategy[object]] = {
        "type": st.one_of(types, st.lists(types, min_size=1, max_size=3, unique=True)),
        "const": scalars,
        "enum": st.lists(scalars, min_size=1, max_size=4),
        "minimum": st.integers(-2, 4),
        "maximum": st.integers(-2, 4),
        "exclusiveMinimum": st.integers(-2, 4),
        "exclusiveMaximum": st.integers(-2, 4),
        "multipleOf": st.sampled_from([1, 2, 3, 0.5]),
        "minLength": small,
        "maxLength": small,
        "pattern": st.sampled_from(["^a", "b$", "^(?!a)", "^[ab]*$"]),
        "format": st.sampled_from(["json-pointer", "int32", "uri-reference"]),
        "items": inner,
        "prefixItems": several,
        "minItems": small,
        "maxItems": small,
        "uniqueItems": st.booleans(),
        "contains": inner,
        "minContains": st.integers(0, 2),
        "maxContains": st.integers(0, 2),
        "unevaluatedItems": inner,
        "properties": named,
        "patternProperties": st.dictionaries(
            st.sampled_from(["^a", "b", "^[ac]$"]), inner, max_size=2
        ),
        "additionalProperties": inner,
        "required": names,
        "minProperties": small,
        "maxProperties": small,
        "propertyNames": inner,
        "dependentRequired": st.dictionaries(st.sampled_from(NAMES), names, max_size=2),
        "dependentSchemas": named,
        "dependencies": st.dictionaries(
            st.sampled_from(NAMES), st.one_of(inner, names), max_size=2
        ),
        "unevaluatedProperties": inner,
        "allOf": several,
        "anyOf": several,
        "oneOf": several,
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
    }
    common = ["type", "properties", "required", "oneOf", "not", "if", "then", "const", "enum"]

    def build(chosen: list[str]) -> st.SearchStrategy[Schema]:
        unique = list(dict.fromkeys(chosen))
        return st.fixed_dictionaries({name: keywords[name] for name in unique})

    chosen = st.lists(st.sampled_from([*keywords, *common]), max_size=4)
    return st.one_of(st.booleans(), chosen.flatmap(build))


schemas: st.SearchStrategy[Schema] = st.recursive(
    st.one_of(
        st.booleans(),
        st.fixed_dictionaries({"const": scalars}),
        st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", "object"])}),
        st.fixed_dictionaries({"required": names}),
    ),
    _keywords,
    max_leaves=5,
)
