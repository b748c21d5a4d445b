"""Decides on the caller's own schema, with jsonschema-rs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import jsonschema_rs

from genir_server.domain.types import Violation
from genir_server.schema.read import pointer
from genir_server.schema.read.drafts import VALIDATORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.schema.read.vocabulary import Draft

_LONGEST_MESSAGE = 200
_MOST_VIOLATIONS = 50
_BACKTRACK_LIMIT = 100_000
_PATTERN_BYTES = 4 << 20

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _of_2020(name: str) -> Callable[[str], bool]:
    check = jsonschema_rs.Draft202012Validator({"format": name}, validate_formats=True)
    return check.is_valid


_LATER_FORMATS = (
    "duration",
    "idn-hostname",
    "iri",
    "iri-reference",
    "json-pointer",
    "relative-json-pointer",
    "uri-reference",
    "uri-template",
)
# Formats that a draft does not list are asserted all the same: who writes `uuid` means it.
_FORMATS: dict[str, Callable[..., bool]] = {
    "uuid": lambda text: _UUID.fullmatch(text) is not None,
    **{name: _of_2020(name) for name in _LATER_FORMATS},
}


class SchemaVerifier:
    """A compiled schema that checks values. Fetches nothing, whatever the schema names.

    Attributes:
        may_block: always false; see `genir_server.schema.types.Verifier`.
        linear: whether every regular expression runs in time in proportion to the text.

    Args:
        schema: the caller's schema, as JSON text or parsed.
        draft: the draft it is written in.

    Raises:
        ValueError: the schema cannot be compiled; the message says why.

    """

    may_block = False

    def __init__(self, schema: dict[str, object] | bool | str, draft: Draft) -> None:
        # Regular expressions run in linear time where they can; look-around and
        # back-references need the engine that goes back, within a limit.
        options: tuple[jsonschema_rs.RegexOptions | jsonschema_rs.FancyRegexOptions, ...] = (
            jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES),
            jsonschema_rs.FancyRegexOptions(
                backtrack_limit=_BACKTRACK_LIMIT,
                size_limit=_PATTERN_BYTES,
                dfa_size_limit=_PATTERN_BYTES,
            ),
        )
        fault: Exception | None = None
        for pattern_options in options:
            self.linear = pattern_options is options[0]
            try:
                self._validator = VALIDATORS[draft](
                    schema,
                    formats=_FORMATS,
                    validate_formats=True,
                    pattern_options=pattern_options,
                    offline=True,
                )
            except (ValueError, jsonschema_rs.ReferencingError) as failure:
                fault = failure
            else:
                return
        raise ValueError(str(fault)[:300])

    def is_valid(self, value: object) -> bool:
        """Whether the parsed JSON `value` satisfies the schema."""
        return self._validator.is_valid(value)

    def violations(self, value: object) -> list[Violation]:
        """Every way in which the parsed JSON `value` fails the schema, at most 50."""
        if self._validator.is_valid(value):
            return []
        found = []
        for error in self._validator.iter_errors(value):
            found.append(
                Violation(
                    instance_pointer=pointer.join(error.instance_path),
                    schema_pointer=pointer.join(error.schema_path),
                    keyword=_keyword(error.schema_path),
                    message=_cut(error.message),
                )
            )
            if len(found) == _MOST_VIOLATIONS:
                break
        return found


def _keyword(path: list[str | int]) -> str:
    names = [token for token in path if isinstance(token, str)]
    return names[-1] if names else ""


def _cut(message: str) -> str:
    if len(message) <= _LONGEST_MESSAGE:
        return message
    return message[: _LONGEST_MESSAGE - 1] + "…"
