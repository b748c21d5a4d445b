"""Checks values against the caller's own schema, with jsonschema-rs."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import TYPE_CHECKING

import jsonschema_rs

from genir_server.domain.types import Violation
from genir_server.schema.pattern.parse import is_pattern
from genir_server.schema.read import pointer
from genir_server.schema.read.drafts import VALIDATORS
from genir_server.schema.read.vocabulary import Draft
from genir_server.schema.verify.draft2019 import Path, standard_form
from genir_server.schema.verify.hostnames import is_hostname, is_idn_hostname
from genir_server.schema.verify.pydantic_formats import PYDANTIC_FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir_server.schema.types import VerifierSource

MAX_VIOLATIONS = 50
"""How many violations of one value are listed."""

_MAX_MESSAGE_CHARACTERS = 200
_BACKTRACK_LIMIT = 100_000
_MAX_PATTERN_BYTES = 4 << 20
# A regular expression builds its automaton while it matches. It starts again when this is full.
_MAX_AUTOMATON_BYTES = 16 << 10

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _format_of_2020(name: str) -> Callable[[str], bool]:
    check = jsonschema_rs.Draft202012Validator({"format": name}, validate_formats=True)
    return check.is_valid


_LATER_FORMATS = (
    "duration",
    "iri",
    "iri-reference",
    "json-pointer",
    "relative-json-pointer",
    "uri-reference",
    "uri-template",
)
# Asserted in every draft: an author who writes `uuid` means it, even where the draft lacks it.
_FORMATS: dict[str, Callable[..., bool]] = {
    "uuid": lambda text: _UUID.fullmatch(text) is not None,
    "idn-hostname": is_idn_hostname,
    "regex": is_pattern,
    **PYDANTIC_FORMATS,
    **{name: _format_of_2020(name) for name in _LATER_FORMATS},
}
# Before draft 7, "hostname" is RFC 1034 alone, which knows no A-labels.
_FORMATS_SINCE_7 = {**_FORMATS, "hostname": is_hostname}
PYTHON_FORMATS = frozenset(_FORMATS_SINCE_7)
"""Formats whose check calls back into Python, which takes longer."""


class SchemaVerifier:
    """A compiled schema that checks values. It never fetches a reference.

    Attributes:
        is_linear: whether every regular expression runs in linear time.

    Args:
        schema: the caller's schema with its regular expressions translated, as JSON text or
            parsed.
        draft: the draft it is written in.
        patterns: each expression in it that stands for another, and the caller's.

    Raises:
        ValueError: the schema cannot be compiled; the message says why.

    """

    def __init__(
        self,
        schema: dict[str, object] | bool | str,
        draft: Draft,
        patterns: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self._patterns = dict(patterns)
        # The linear-time engine first. Look-around and back-references need the backtracking one,
        # which gets a limit.
        options: tuple[jsonschema_rs.RegexOptions | jsonschema_rs.FancyRegexOptions, ...] = (
            jsonschema_rs.RegexOptions(
                size_limit=_MAX_PATTERN_BYTES, dfa_size_limit=_MAX_AUTOMATON_BYTES
            ),
            jsonschema_rs.FancyRegexOptions(
                backtrack_limit=_BACKTRACK_LIMIT,
                size_limit=_MAX_PATTERN_BYTES,
                dfa_size_limit=_MAX_AUTOMATON_BYTES,
            ),
        )
        form: dict[str, object] | bool | str = schema
        self._moved: dict[Path, Path] = {}
        if draft is Draft.DRAFT201909:
            form, self._moved = standard_form(schema)
        formats = _FORMATS_SINCE_7 if draft >= Draft.DRAFT7 else _FORMATS
        fault: Exception | None = None
        for pattern_options in options:
            self.is_linear = pattern_options is options[0]
            try:
                self._validator = VALIDATORS[draft](
                    form,
                    formats=formats,
                    validate_formats=True,
                    pattern_options=pattern_options,
                    offline=True,
                )
            except (ValueError, jsonschema_rs.ReferencingError) as failure:
                fault = failure
            else:
                return
        raise ValueError(str(fault)[:300])

    @classmethod
    def of(cls, source: VerifierSource) -> SchemaVerifier:
        """The verifier for a source.

        Raises:
            ValueError: it cannot be compiled; the message says why.

        """
        return cls(source.text, source.draft, source.patterns)

    def is_valid(self, value: object) -> bool:
        """Whether the parsed JSON `value` satisfies the schema."""
        return self._validator.is_valid(value)

    def violations(self, value: object, max_violations: int = MAX_VIOLATIONS) -> list[Violation]:
        """The ways in which a value fails the schema.

        Even the first of several takes the validator as long as all of them, because it lists them
        first. Only with `max_violations` of 1 does it stop at the first.

        Args:
            value: parsed JSON.
            max_violations: how many are listed, 1 and up.

        """
        if max_violations == 1:
            try:
                self._validator.validate(value)
            except jsonschema_rs.ValidationError as error:
                return [self._violation(error)]
            return []
        if self._validator.is_valid(value):
            return []
        errors = self._validator.iter_errors(value)
        return [self._violation(error) for error in islice(errors, max_violations)]

    def _violation(self, error: jsonschema_rs.ValidationError) -> Violation:
        path, message = error.schema_path, error.message
        original = self._moved.get(tuple(path))
        if original is not None:
            path = list(original)
            message = f"contains is not satisfied by {_shown(error.instance)}"
        path = [self._patterns.get(str(token), token) for token in path]
        for written, own in self._patterns.items():
            message = message.replace(written, own)
        return Violation(
            instance_pointer=pointer.join(error.instance_path),
            schema_pointer=pointer.join(path),
            keyword=_keyword(path),
            message=_shortened(message),
        )


def _keyword(path: list[str | int]) -> str:
    names = [token for token in path if isinstance(token, str)]
    return names[-1] if names else ""


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _shortened(message: str) -> str:
    if len(message) <= _MAX_MESSAGE_CHARACTERS:
        return message
    return message[: _MAX_MESSAGE_CHARACTERS - 1] + "…"
