"""Bounds on callers' schemas and on what the model may write under them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from genir_server.domain.types import Tightening

_BRIEF_CHARACTERS = 80
_BRIEF_ENTRIES = 3


@dataclass(frozen=True, slots=True)
class SchemaLimits:
    """Bounds that a schema must keep; one that does not is refused as SCHEMA_TOO_COMPLEX.

    But for the times, which depend on the machine, the defaults refuse nothing that engines compile
    in public collections of schemas.

    Attributes:
        schema_bytes: UTF-8 bytes of the schema's text.
        nesting: levels of JSON nesting in the schema's text.
        nodes: subschemas that the root reaches.
        reference_depth: `$ref`s that lead one into the next.
        multiple_of: numerator of a `multipleOf`, and of the least common multiple of all those
            that apply to one value.
        quantifier: largest number in a repetition such as ``{1,100}`` of a regular expression;
            those inside one another are multiplied.
        pattern_bytes: UTF-8 bytes of one regular expression.
        pattern_properties: entries of one `patternProperties`.
        optional_properties: properties of one object that may be left out.
        alternatives: entries of one `anyOf`, `oneOf` or `allOf`.
        enum_values: entries of one `enum` or `required`.
        min_items: items that an array must have.
        string_bytes: UTF-8 bytes of a string in `const` or `enum`.
        key_bytes: UTF-8 bytes of the name of a property.
        evaluations: subschemas that apply to one and the same value, counted as often as they
            apply.
        quick_seconds: processor time after which a schema moves to the worker for slow ones and
            starts again there, where it had the last worker that was free.
        probe_seconds: processor time for reading, checking and compiling one schema.
        compile_seconds: the part of it that compiling the grammar takes, which the engine spends
            again, once for a number of requests with that schema.
        probe_wall_seconds: time by the clock for all of it, with the wait for workers, for when the
            machine is overloaded.
        mask_seconds: processor time for the set of allowed tokens at one place of the output.
        probe_bytes: memory of the process that does this.
    """

    schema_bytes: int = 1 << 20
    nesting: int = 100
    nodes: int = 50_000
    reference_depth: int = 128
    multiple_of: int = 10_000
    quantifier: int = 2_000
    pattern_bytes: int = 8_192
    pattern_properties: int = 64
    optional_properties: int = 450
    alternatives: int = 2_000
    enum_values: int = 10_000
    min_items: int = 1_000
    string_bytes: int = 4_096
    key_bytes: int = 1_000
    evaluations: int = 100_000
    quick_seconds: float = 0.2
    probe_seconds: float = 0.6
    compile_seconds: float = 0.5
    probe_wall_seconds: float = 10.0
    mask_seconds: float = 0.05
    probe_bytes: int = 2 << 30


@dataclass(frozen=True, slots=True)
class NarrowingBounds:
    """Bounds on output where the schema sets none, so that a model comes to an end.

    Each is stretched where the schema itself demands more.

    Attributes:
        enabled: whether anything is narrowed at all.
        string_characters: characters of a string.
        array_items: items of an array.
        map_properties: entries of an open object beyond those that it names.
        integer_digits: digits of an integer.
        fraction_digits: digits after the decimal point, of numbers that cannot be negative.
        free_depth: levels of arrays and objects inside a value that may be anything.
        close_objects: whether an object that names its properties may hold only those, when the
            schema does not say otherwise.
        infer_types: whether a schema without `type` is taken to mean the type that its keywords
            are about.
        single_keys: whether an object may hold at most one key that its schema leaves open, so that
            no such key can be written twice; wherever the schema lets that be.
        over_own_bounds: whether strings, numbers, arrays and objects that the schema bounds itself
            are bounded more tightly too.
        pattern_characters: characters of a string with a pattern; 0 for `string_characters`.
    """

    enabled: bool = True
    string_characters: int = 600
    array_items: int = 24
    map_properties: int = 16
    integer_digits: int = 15
    fraction_digits: int = 9
    free_depth: int = 2
    close_objects: bool = True
    infer_types: bool = True
    single_keys: bool = False
    over_own_bounds: bool = False
    pattern_characters: int = 0

    def tightened(self, tightening: Tightening) -> NarrowingBounds:
        """These bounds with what a further attempt is to rule out."""
        bounds = self
        if Tightening.SINGLE_KEYS in tightening:
            bounds = replace(bounds, single_keys=True)
        if Tightening.COMPACT in tightening:
            bounds = replace(
                bounds,
                string_characters=min(bounds.string_characters, _BRIEF_CHARACTERS),
                array_items=min(bounds.array_items, _BRIEF_ENTRIES),
                map_properties=min(bounds.map_properties, _BRIEF_ENTRIES),
                free_depth=min(bounds.free_depth, 1),
                over_own_bounds=True,
                # Which lengths suit a pattern nobody knows.
                pattern_characters=bounds.pattern_characters or bounds.string_characters,
            )
        return bounds
