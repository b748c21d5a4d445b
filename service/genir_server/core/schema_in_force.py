"""Which schema a request must satisfy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genir_server.domain.errors import FieldViolation, GenirError, Reason

if TYPE_CHECKING:
    from genir_server.schema.types import PreparedSchema, SchemaPreparer


async def schema_in_force(
    schemas: SchemaPreparer,
    builtin: PreparedSchema,
    json_schema: str | None,
    schema_digest: str | None,
    *,
    caller: str = "",
    parent: str = "spec.",
) -> PreparedSchema:
    """The schema that a request names: by its text, by its digest, or else the built-in one.

    Args:
        schemas: prepares the text, and finds prepared schemas by their digests.
        builtin: the built-in IR schema, prepared.
        json_schema: the text of the schema, if the caller sent one.
        schema_digest: its digest, if the caller sent that instead.
        caller: the caller's name, for fairness between callers.
        parent: what precedes the names of fields in errors.

    Raises:
        GenirError: SCHEMA_NOT_FOUND, or what `SchemaPreparer.prepare` raises.
    """
    if json_schema is not None:
        try:
            return await schemas.prepare(json_schema, caller)
        except GenirError as error:
            raise refusal_at(f"{parent}json_schema", error) from None
    if schema_digest is None or schema_digest == builtin.digest:
        return builtin
    schema = schemas.known(schema_digest)
    if schema is None:
        raise GenirError(
            Reason.SCHEMA_NOT_FOUND,
            "this server does not know a schema with that digest: send its text in json_schema",
            fields=(FieldViolation(f"{parent}schema_digest", "is not known to this server"),),
        )
    return schema


def refusal_at(field: str, error: GenirError) -> GenirError:
    """The refusal of a schema, with `field` as the name of the field that held it."""
    return GenirError(
        error.reason,
        error.message,
        fields=tuple(FieldViolation(field, violation.description) for violation in error.fields),
        retry_after=error.retry_after,
        metadata=error.metadata,
    )
