"""Limits on callers' schemas, and bounds on the output where a schema sets none."""

from __future__ import annotations

from dataclasses import dataclass, replace

from genir_server.domain.types import Tightening

_COMPACT_CHARACTERS = 80
_COMPACT_ENTRIES = 3


@dataclass(frozen=True, slots=True)
class SchemaLimits:
    """Limits that a schema must keep. One that does not is refused as SCHEMA_TOO_COMPLEX.

    The defaults refuse no schema of the public collections that engines compile, except by the
    times, which depend on the machine. They grow while other processes make the machine slow.

    Attributes:
        schema_bytes: UTF-8 bytes of the schema's text.
        nesting: levels of JSON nesting in the schema's text.
        nodes: subschemas that the root reaches.
        reference_depth: length of a chain of `$ref`.
        multiple_of: numerator of a `multipleOf`, and of the least common multiple of all
            `multipleOf` that apply to one value.
        quantifier: largest number in a repetition such as ``{1,100}`` of a regular expression;
            nested repetitions multiply.
        pattern_bytes: UTF-8 bytes of one regular expression.
        pattern_properties: entries of one `patternProperties`.
        optional_properties: properties of one object that are not required.
        alternatives: entries of one `anyOf`, `oneOf` or `allOf`.
        enum_values: entries of one `enum` or `required`, names that one property requires.
        min_items: value of `minItems`.
        string_bytes: UTF-8 bytes of a string in `const` or `enum`.
        key_bytes: UTF-8 bytes of the name of a property.
        evaluations: subschemas that apply to the same value, each counted as often as it applies.
        quick_seconds: processor time after which a schema starts again in the worker for slow
            schemas, if it had the last free worker.
        probe_seconds: processor time for reading, checking and compiling one schema.
        compile_seconds: the part of `probe_seconds` that may go into compiling the grammar. The
            engine compiles it again when the schema is used.
        probe_wall_seconds: time by the clock for all of it, waiting for workers included.
        mask_seconds: processor time for one mask: the set of tokens allowed next.
        probe_bytes: memory that preparing one schema may take.
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
    probe_seconds: float = 1.0
    compile_seconds: float = 0.5
    probe_wall_seconds: float = 30.0
    mask_seconds: float = 0.05
    probe_bytes: int = 2 << 30


@dataclass(frozen=True, slots=True)
class NarrowingBounds:
    """Bounds on the output where the schema sets none, so that the model finishes.

    A bound is raised where the schema itself requires more.

    Attributes:
        enabled: whether anything is narrowed at all.
        string_characters: characters of a string.
        array_items: items of an array.
        map_properties: entries of an open object beyond its named properties.
        integer_digits: digits of an integer.
        fraction_digits: digits after the decimal point of numbers that cannot be negative.
        free_depth: levels of arrays and objects in a value with no schema.
        close_objects: whether an object with `properties` may have only those, if the schema does
            not say otherwise.
        infer_types: whether a schema without `type` gets the type that its keywords apply to.
        single_keys: whether an object may have only one key that its schema does not name, so that
            no such key can be written twice; unless the schema requires more.
        over_own_bounds: whether these bounds also apply where the schema sets wider ones.
        pattern_characters: characters of a string with a pattern; 0 to use `string_characters`.
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
        """These bounds with what a further attempt rules out."""
        bounds = self
        if Tightening.SINGLE_KEYS in tightening:
            bounds = replace(bounds, single_keys=True)
        if Tightening.COMPACT in tightening:
            bounds = replace(
                bounds,
                string_characters=min(bounds.string_characters, _COMPACT_CHARACTERS),
                array_items=min(bounds.array_items, _COMPACT_ENTRIES),
                map_properties=min(bounds.map_properties, _COMPACT_ENTRIES),
                free_depth=min(bounds.free_depth, 1),
                over_own_bounds=True,
                # A shorter bound might contradict the pattern.
                pattern_characters=bounds.pattern_characters or bounds.string_characters,
            )
        return bounds
