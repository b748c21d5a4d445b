"""A refusal of a schema, in a form that crosses process borders."""

from __future__ import annotations

from genir_server.domain.errors import FieldViolation, GenirError, Reason

SCHEMA_FIELD = "spec.json_schema"
_LONGEST_PLACE = 200


class SchemaRefusedError(Exception):
    """The schema is refused. The message tells its author what to change.

    Args:
        reason: SCHEMA_INVALID, SCHEMA_UNSUPPORTED or SCHEMA_TOO_COMPLEX.
        message: what is wrong, and where.
        metadata: the facts in it as strings: ``pointer``, ``limit``, ``value``, ``keyword``.

    """

    def __init__(self, reason: Reason, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata

    @property
    def size(self) -> int:
        """About how many bytes it takes: messages and pointers may be long."""
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
        Reason.SCHEMA_INVALID, f"{message} (at {place(pointer)})", pointer=pointer
    )


def unsupported(message: str, pointer: str) -> SchemaRefusedError:
    """The refusal of something that cannot be enforced."""
    return SchemaRefusedError(
        Reason.SCHEMA_UNSUPPORTED, f"{message} (at {place(pointer)})", pointer=pointer
    )


def too_complex(
    what: str,
    limit: str,
    most: float,
    value: float | str | None = None,
    pointer: str | None = None,
) -> SchemaRefusedError:
    """The refusal of something beyond a limit.

    Args:
        what: what is too large, in words.
        limit: name of the limit in `SchemaLimits`, or of one that is not the operator's.
        most: the limit's value.
        value: the value that broke it; None where it ended the work before it could be measured.
        pointer: where, when one place is to blame. When it is the document as a whole, callers'
            programs are told the root, and the sentence says nothing of a place.

    """
    where = "" if pointer is None else f" at {place(pointer)}"
    bound = f"{most:g}" if isinstance(most, float) else str(most)
    found = f"more than {bound}" if value is None else str(value)
    return SchemaRefusedError(
        Reason.SCHEMA_TOO_COMPLEX,
        f"{what}{where}: {limit} is {found}, at most {bound} is allowed",
        pointer=pointer or "",
        limit=limit,
        max=bound,
        value=found,
    )


def place(pointer: str) -> str:
    """A JSON Pointer as it reads in a sentence, cut to 200 characters."""
    if not pointer:
        return "the root"
    return pointer if len(pointer) <= _LONGEST_PLACE else f"{pointer[:_LONGEST_PLACE]}…"
