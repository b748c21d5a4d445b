"""Converts keywords about objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.schema.pattern.translate import translate
from genir_server.schema.read.vocabulary import REFERENCES
from genir_server.schema.relax import literals
from genir_server.schema.relax.negation import literal_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.schema.read.document import Node
    from genir_server.schema.relax.context import Context, EngineSchema

_IN_PLACE = (
    *("allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas", "dependencies"),
    *REFERENCES,
)
_MAX_TRIGGERS = 4
# The engine has an item in its row for each pair of named properties, and room for 2,000 items.
_MAX_COUNTED = 40
_MAX_COUNTED_COARSELY = 10


def _properties(
    context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]
) -> None:
    # The engine itself applies patternProperties to named properties.
    schema["properties"] = {
        str(edge.key): context.use(edge.target)
        for edge in node.edges
        if edge.keyword == "properties"
    }


def _all(parts: list[EngineSchema]) -> EngineSchema:
    kept = [part for part in parts if part is not True]
    if any(part is False for part in kept):
        return False
    if len(kept) <= 1:
        return kept[0] if kept else True
    return {"allOf": kept}


def _pattern_properties(
    context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]
) -> None:
    patterns: dict[str, EngineSchema] = {}
    are_regular = True
    for edge in node.edges:
        if edge.keyword == "patternProperties":
            pattern = translate(str(edge.key))
            are_regular = are_regular and pattern.is_regular
            # Two expressions may have the same translation; then both schemas apply.
            patterns[pattern.text] = _all(
                [patterns.get(pattern.text, True), context.use(edge.target)]
            )
    if not patterns:
        return
    if are_regular and not context.options.plain_patterns:
        if _compile(context, patterns):
            schema["patternProperties"] = patterns
            return
        merged = _merged(patterns)
        if len(merged) < len(patterns) and _compile(context, merged):
            schema["patternProperties"] = merged
            context.rewritten(node, "patternProperties", "patterns with equal schemas are merged")
            return
    # Every name now allows what any pattern or additionalProperties allows.
    options = [
        context.use(edge.target) for edge in node.edges if edge.keyword == "patternProperties"
    ]
    rest = node.target("additionalProperties")
    options.append(True if rest is None else context.use(rest))
    schema["additionalProperties"] = _any(options)
    context.unchecked(
        node, "patternProperties", "the engine cannot tell which pattern a name matches"
    )


def _any(options: list[EngineSchema]) -> EngineSchema:
    if any(option is True for option in options):
        return True
    kept = list({literal_key(option): option for option in options if option is not False}.values())
    if len(kept) <= 1:
        return kept[0] if kept else False
    return {"anyOf": kept}


def _compile(context: Context, patterns: dict[str, EngineSchema]) -> bool:
    return context.oracle.compiles(
        {"type": "object", "patternProperties": dict.fromkeys(patterns, True)}
    )


def _merged(patterns: dict[str, EngineSchema]) -> dict[str, EngineSchema]:
    by_schema: dict[str, tuple[list[str], EngineSchema]] = {}
    for pattern, schema in patterns.items():
        by_schema.setdefault(literal_key(schema), ([], schema))[0].append(pattern)
    return {
        names[0] if len(names) == 1 else "|".join(f"(?:{name})" for name in names): schema
        for names, schema in by_schema.values()
    }


def _additional_properties(
    context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]
) -> None:
    target = node.target("additionalProperties")
    if target is not None and "additionalProperties" not in schema:
        schema["additionalProperties"] = context.use(target)


def _required(_: Context, node: Node, schema: dict[str, object], __: list[EngineSchema]) -> None:
    names = node.keywords["required"]
    if isinstance(names, list) and names:
        schema["required"] = list(dict.fromkeys(names))


def _counts(context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]) -> None:
    """Converts `minProperties` and `maxProperties` together, for the first of them."""
    if {"minProperties", "maxProperties"} & schema.keys():
        return
    keywords = node.keywords
    counts = {
        keyword: int(value)
        for keyword in ("minProperties", "maxProperties")
        if isinstance(value := keywords.get(keyword), int | float)
    }
    required = keywords.get("required")
    required_count = len(set(required)) if isinstance(required, list) else 0
    if counts.get("minProperties", 0) <= required_count:
        counts.pop("minProperties", None)
    properties = keywords.get("properties")
    named = properties if isinstance(properties, dict) else {}
    closed = keywords.get("additionalProperties") is False and not keywords.get("patternProperties")
    if closed and counts.get("maxProperties", 0) >= len(named):
        counts.pop("maxProperties", None)
    if not counts:
        return
    skeleton: dict[str, object] = {
        "type": "object",
        "properties": dict.fromkeys(named, True),
        "required": list(dict.fromkeys(required)) if isinstance(required, list) else [],
        "additionalProperties": not closed,
    }
    optional = len(named.keys() - (required if isinstance(required, list) else ()))
    can_count = optional <= _MAX_COUNTED and not context.options.plain_counts
    if can_count and context.oracle.compiles({**skeleton, **counts}):
        schema.update(counts)
        return
    for keyword in counts:
        context.unchecked(node, keyword, "the engine cannot count these properties")
    if counts.get("minProperties", 0) >= 1 and optional <= _MAX_COUNTED_COARSELY:
        one = {"minProperties": 1}
        schema.update(one if context.oracle.compiles({**skeleton, **one}) else {})


def _property_names(
    context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]
) -> None:
    target = node.target("propertyNames")
    if target is None:
        return
    names = context.resolve(context.use(target))
    if names is True:
        return
    if _rewrite_names(context, node, names, schema):
        context.rewritten(node, "propertyNames", "as properties or patternProperties")
    else:
        context.unchecked(node, "propertyNames", "the engine cannot check names by a schema")


def _rewrite_names(
    context: Context, node: Node, names: EngineSchema, schema: dict[str, object]
) -> bool:
    keywords = node.keywords
    if keywords.get("properties") or keywords.get("patternProperties"):
        return False
    if names is False:
        schema["additionalProperties"] = False
        return True
    pattern = _name_pattern(names) if isinstance(names, dict) else None
    if pattern is None or not _compile(context, {pattern: True}):
        return False
    rest = node.target("additionalProperties")
    schema["patternProperties"] = {pattern: True if rest is None else context.use(rest)}
    schema["additionalProperties"] = False
    return True


def _name_pattern(names: dict[str, object]) -> str | None:
    """A regular expression for the names that a schema accepts; None if there is none."""
    constraints = {key: value for key, value in names.items() if key != "type"}
    texts = [constraints["const"]] if "const" in constraints else constraints.get("enum")
    if names.get("type", "string") != "string":
        return None
    if set(constraints) == {"pattern"}:
        return str(constraints["pattern"])
    if constraints and set(constraints) <= {"minLength", "maxLength"}:
        low, high = constraints.get("minLength", 0), constraints.get("maxLength", "")
        return rf"^[\s\S]{{{low},{high}}}$"
    if len(constraints) == 1 and isinstance(texts, list):
        strings = [text for text in texts if isinstance(text, str)]
        return literals.one_of(strings) if strings else None
    return None


def _dependent(context: Context, node: Node, keyword: str, extra: list[EngineSchema]) -> None:
    triggers = node.keywords[keyword]
    if not isinstance(triggers, dict) or not triggers:
        return
    if context.options.plain_conditions or len(triggers) > _MAX_TRIGGERS:
        context.unchecked(node, keyword, "there are too many conditions for the engine")
        return
    for name, dependency in triggers.items():
        if isinstance(dependency, list):
            if not dependency:
                continue
            then: EngineSchema = {"required": list(dict.fromkeys([name, *dependency]))}
        else:
            target = node.target(keyword, name)
            then = _all([{"required": [name]}, context.use(str(target))])
        absent: EngineSchema = {"properties": {name: False}}
        options = [part if part is False else _for_objects(node, part) for part in (absent, then)]
        extra.append(_any(options))
    context.rewritten(node, keyword, "as alternatives with and without the property")


def _for_objects(node: Node, schema: EngineSchema) -> EngineSchema:
    """Adds `type: object` to a part where the schema has it, which the engine compiles better."""
    if node.keywords.get("type") == "object" and isinstance(schema, dict):
        return {"type": "object", **schema}
    return schema


def _dependent_required(
    context: Context, node: Node, _: dict[str, object], extra: list[EngineSchema]
) -> None:
    _dependent(context, node, "dependentRequired", extra)


def _dependent_schemas(
    context: Context, node: Node, _: dict[str, object], extra: list[EngineSchema]
) -> None:
    _dependent(context, node, "dependentSchemas", extra)


def _dependencies(
    context: Context, node: Node, _: dict[str, object], extra: list[EngineSchema]
) -> None:
    _dependent(context, node, "dependencies", extra)


def _unevaluated_properties(
    context: Context, node: Node, schema: dict[str, object], _: list[EngineSchema]
) -> None:
    target = node.target("unevaluatedProperties")
    if target is None or context.document.nodes[target].value is True:
        return
    if "additionalProperties" in node.keywords:
        return
    if not any(keyword in node.keywords for keyword in _IN_PLACE):
        schema["additionalProperties"] = context.use(target)
        context.rewritten(node, "unevaluatedProperties", "as additionalProperties")
    else:
        context.unchecked(
            node, "unevaluatedProperties", "the engine cannot tell which properties are left"
        )


CONVERTERS: dict[str, Callable[..., None]] = {
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "required": _required,
    "minProperties": _counts,
    "maxProperties": _counts,
    "propertyNames": _property_names,
    "dependencies": _dependencies,
    "dependentRequired": _dependent_required,
    "dependentSchemas": _dependent_schemas,
    "unevaluatedProperties": _unevaluated_properties,
}
