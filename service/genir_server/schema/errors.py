"""The refusal of a schema, in a form that can cross from a worker to the server."""

from __future__ import annotations

from genir_server.domain.errors import FieldViolation, GenirError, Reason
from genir_server.schema.pattern.syntax import PatternSyntaxError, PatternUnsupportedError

SCHEMA_FIELD = "spec.json_schema"
_MAX_POINTER_CHARACTERS = 200
_MACHINE_LIMITS = frozenset(
    {"probe_seconds", "compile_seconds", "mask_seconds", "probe_bytes", "worker"}
)


class SchemaRefusedError(Exception):
    """The schema is refused. The message tells its author what to change.

    Args:
        reason: SCHEMA_INVALID, SCHEMA_UNSUPPORTED or SCHEMA_TOO_COMPLEX.
        message: what is wrong, and where.
        metadata: the same facts as strings: ``pointer``, ``limit``, ``max``, ``value``.

    """

    def __init__(self, reason: Reason, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata

    @property
    def may_change(self) -> bool:
        """Whether the same schema may pass later: limits on time, memory and stack."""
        return self.metadata.get("limit") in _MACHINE_LIMITS

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes: messages and pointers may be long."""
        texts = (self.message, self.message, *self.metadata.values())
        return sum(4 * len(text) for text in texts)

    def to_error(self) -> GenirError:
        """The error for the caller."""
        return GenirError(
            self.reason,
            self.message,
            fields=(FieldViolation(SCHEMA_FIELD, self.message),),
            metadata=dict(self.metadata),
        )


def invalid(message: str, pointer: str | None = None) -> SchemaRefusedError:
    """The refusal of something that is not a usable JSON Schema."""
    if pointer is None:
        return SchemaRefusedError(Reason.SCHEMA_INVALID, message)
    return SchemaRefusedError(
        Reason.SCHEMA_INVALID, f"{message} (at {shown_pointer(pointer)})", pointer=pointer
    )


def unsupported(message: str, pointer: str) -> SchemaRefusedError:
    """The refusal of something that cannot be enforced."""
    return SchemaRefusedError(
        Reason.SCHEMA_UNSUPPORTED, f"{message} (at {shown_pointer(pointer)})", pointer=pointer
    )


def refused_pattern(
    fault: PatternSyntaxError | PatternUnsupportedError, pointer: str
) -> SchemaRefusedError:
    """The refusal of a regular expression."""
    if isinstance(fault, PatternSyntaxError):
        return invalid(f"The regular expression is not ECMA-262: {fault}", pointer)
    return unsupported(f"The regular expression cannot be matched: {fault}", pointer)


def too_complex(
    what: str,
    limit: str,
    max_value: float,
    value: float | str | None = None,
    pointer: str | None = None,
) -> SchemaRefusedError:
    """The refusal of something beyond a limit.

    Args:
        what: what is too large, as the beginning of the message.
        limit: name of the limit in `SchemaLimits`, or of a limit that is not the operator's.
        max_value: the limit's value.
        value: the value that exceeds it; None where work was stopped before it was known.
        pointer: where in the schema; None for the schema as a whole. The message then names no
            place, and the metadata names the root.

    """
    where = "" if pointer is None else f" at {shown_pointer(pointer)}"
    bound = f"{max_value:g}" if isinstance(max_value, float) else str(max_value)
    found = f"more than {bound}" if value is None else str(value)
    return SchemaRefusedError(
        Reason.SCHEMA_TOO_COMPLEX,
        f"{what}{where}: {limit} is {found}, the maximum is {bound}",
        pointer=pointer or "",
        limit=limit,
        max=bound,
        value=found,
    )


def shown_pointer(pointer: str) -> str:
    """A JSON Pointer for a message: "the root" if empty, cut to 200 characters."""
    if not pointer:
        return "the root"
    if len(pointer) <= _MAX_POINTER_CHARACTERS:
        return pointer
    return f"{pointer[:_MAX_POINTER_CHARACTERS]}…"
