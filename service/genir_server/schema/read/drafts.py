"""Detects the draft of a schema and checks the schema against the meta-schema."""

from __future__ import annotations

import re

import jsonschema_rs

from genir_server.schema.errors import SchemaRefusedError, invalid, shown_pointer, unsupported
from genir_server.schema.read import pointer
from genir_server.schema.read.masking import path_with_patterns, without_patterns
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.read.wrappers import wrapped_schema

NAMES = {
    Draft.DRAFT4: "http://json-schema.org/draft-04/schema",
    Draft.DRAFT6: "http://json-schema.org/draft-06/schema",
    Draft.DRAFT7: "http://json-schema.org/draft-07/schema",
    Draft.DRAFT201909: "https://json-schema.org/draft/2019-09/schema",
    Draft.DRAFT202012: "https://json-schema.org/draft/2020-12/schema",
}
"""The meta-schema of each draft, without an empty fragment."""

_MAX_MESSAGE_CHARACTERS = 300
_MESSAGE_HEAD = 60
_MESSAGE_TAIL = 120
_LATEST = "http://json-schema.org/schema"
# The dialects of OpenAPI 3.1 and later are draft 2020-12 with annotations.
_OPENAPI = re.compile(r"https?://spec\.openapis\.org/oas/3\.[1-9][0-9]*/dialect/[\w.-]+")
_META_SCHEMAS = {
    draft: {"$schema": name + ("#" if draft <= Draft.DRAFT7 else "")}
    for draft, name in NAMES.items()
}
VALIDATORS: dict[Draft, type[jsonschema_rs.Validator]] = {
    Draft.DRAFT4: jsonschema_rs.Draft4Validator,
    Draft.DRAFT6: jsonschema_rs.Draft6Validator,
    Draft.DRAFT7: jsonschema_rs.Draft7Validator,
    Draft.DRAFT201909: jsonschema_rs.Draft201909Validator,
    Draft.DRAFT202012: jsonschema_rs.Draft202012Validator,
}


def detect(schema: dict[str, object] | bool) -> Draft:
    """The draft of a schema, which is checked against its meta-schema.

    `$schema` decides. Without one it is the newest draft whose meta-schema the schema passes.

    Raises:
        SchemaRefusedError: SCHEMA_INVALID with the place and the error, or SCHEMA_UNSUPPORTED for
            a `$schema` that is none of the five.

    """
    if isinstance(schema, bool):
        return Draft.DRAFT202012
    name = schema.get("$schema")
    if name is None:
        first_fault: jsonschema_rs.ValidationError | None = None
        for draft in sorted(Draft, reverse=True):
            fault = _fault(schema, draft)
            if fault is None:
                return draft
            first_fault = first_fault or fault
        assert first_fault is not None  # noqa: S101 - the loop ran and found faults only
        wrapped = wrapped_schema(schema)
        if wrapped is not None:
            message = f"The schema is inside a wrapper of another API: send the value of {wrapped}"
            raise invalid(message, wrapped)
        raise _refusal(first_fault, schema)
    draft = _named(name)
    fault = _fault(schema, draft)
    if fault is not None:
        raise _refusal(fault, schema)
    return draft


def obstacle(schema: dict[str, object]) -> str:
    """The place for which a schema is not of the newest draft; empty if it may be."""
    fault = _fault(schema, max(Draft))
    return "" if fault is None else shown_pointer(_place(fault, schema)[0])


def check(schema: dict[str, object], draft: Draft, where: str) -> None:
    """Checks a subschema in a place that no keyword makes a schema.

    Raises:
        SchemaRefusedError: SCHEMA_INVALID.

    """
    fault = _fault(schema, draft)
    if fault is not None:
        raise _refusal(fault, schema, where)


def _named(name: object) -> Draft:
    if not isinstance(name, str):
        raise invalid("$schema must be a string", "/$schema")
    bare = name.strip().rstrip("#")
    if bare == _LATEST or _OPENAPI.fullmatch(bare):
        return Draft.DRAFT202012
    for draft, known in NAMES.items():
        if re.sub("^https?", "", bare) == re.sub("^https?", "", known):
            return draft
    raise unsupported(
        f"$schema is {name[:100]!r}; drafts 4, 6, 7, 2019-09 and 2020-12 are supported",
        "/$schema",
    )


def _fault(schema: dict[str, object], draft: Draft) -> jsonschema_rs.ValidationError | None:
    fault = _meta_fault(schema, draft)
    if fault is not None:
        # Meta-schemas may also check regular expressions. That is left to `lint`, which reads more
        # of them and tells where one goes wrong. And references may have characters of no URI.
        fault = _meta_fault(without_patterns(schema), draft)
    return fault


def _meta_fault(schema: dict[str, object], draft: Draft) -> jsonschema_rs.ValidationError | None:
    # The meta-schema of the chosen draft, whatever the schema's own $schema says.
    subject = {**schema, **_META_SCHEMAS[draft]}
    try:
        jsonschema_rs.meta.validate(subject)
    except jsonschema_rs.ValidationError as fault:
        return fault
    return None


def _refusal(
    fault: jsonschema_rs.ValidationError, schema: dict[str, object], base: str = ""
) -> SchemaRefusedError:
    where, message = _place(fault, schema)
    return invalid(f"The schema is not a valid JSON Schema: {_shortened(message)}", base + where)


def _place(fault: jsonschema_rs.ValidationError, schema: dict[str, object]) -> tuple[str, str]:
    """The pointer and the message that tell most about a fault."""
    path, message = fault.instance_path, fault.message
    # A meta-schema has alternatives, such as a schema or a list of schemas. The error is then that
    # none matches; the useful message is the one from deepest inside an alternative.
    pending = [fault.kind]
    while pending:
        for alternative in getattr(pending.pop(), "context", ()):
            for inner in alternative:
                pending.append(inner.kind)
                if len(inner.instance_path) > len(path):
                    path, message = inner.instance_path, inner.message
    return pointer.join(path_with_patterns(schema, path)), message


def _shortened(message: str) -> str:
    """A message that begins with the invalid value, which may be long: its beginning and end."""
    if len(message) <= _MAX_MESSAGE_CHARACTERS:
        return message
    return f"{message[:_MESSAGE_HEAD]} … {message[-_MESSAGE_TAIL:]}"
