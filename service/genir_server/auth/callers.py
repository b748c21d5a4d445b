"""The callers file: the callers that a server accepts, and their permissions.

The file is TOML, one table for each caller::

    [callers.nightly-build]
    tokens = ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
    permissions = ["generate"]

    [callers.operations]
    certificates = ["ops.example.org", "spiffe://example.org/ops"]
    permissions = ["generate", "warmup", "debug"]

`tokens` are digests of bearer tokens; with two, a token can be replaced without interruption.
`certificates` are names in client certificates: a DNS name or URI of the subject alternative names,
or the common name of a certificate that has none. Tokens are long and random (``genir token``), so
a plain digest reveals nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import tomllib
from typing import TYPE_CHECKING, Any

from genir_server.domain.caller import Caller, Permission

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"sha256:([0-9a-f]{64})")
# Digests of no token at all, such as `sha256sum` prints for an empty file or an empty line.
_BLANK_DIGESTS = frozenset(
    hashlib.sha256(blank).digest() for blank in (b"", b" ", b"\n", b"\r\n", b"\t")
)
_KEYS = frozenset({"tokens", "certificates", "permissions"})


class CallersError(Exception):
    """The callers file is malformed. The message contains no secret."""


class Callers:
    """The callers of a callers file.

    Args:
        by_digest: the caller of each SHA-256 digest of a token.
        by_certificate: the caller of each certificate name.
    """

    def __init__(self, by_digest: dict[bytes, Caller], by_certificate: dict[str, Caller]) -> None:
        self._by_digest = by_digest
        self._by_certificate = by_certificate

    def __len__(self) -> int:
        return len({each.name for each in self._all()})

    def with_token(self, token: bytes) -> Caller | None:
        """Returns the caller that has this token; no caller has an empty or blank one.

        Takes the same time for known and unknown tokens.
        """
        if not token.strip():
            return None
        digest = hashlib.sha256(token).digest()
        found = None
        for known, caller in self._by_digest.items():
            if hmac.compare_digest(known, digest):
                found = caller
        return found

    def with_certificate(self, names: Iterable[str]) -> Caller | None:
        """Returns the caller that has one of these names of a verified certificate."""
        return next(
            (self._by_certificate[name] for name in names if name in self._by_certificate), None
        )

    def _all(self) -> Iterable[Caller]:
        yield from self._by_digest.values()
        yield from self._by_certificate.values()


def read_callers(text: str) -> Callers:
    """Parses the text of a callers file.

    Raises:
        CallersError: it is not TOML, or an entry is missing, unknown or invalid.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CallersError(f"not TOML: {_place_only(error)}") from None
    tables = document.pop("callers", None)
    if document or not isinstance(tables, dict) or not tables:
        raise CallersError("must contain tables [callers.NAME] and nothing else")
    by_digest: dict[bytes, Caller] = {}
    by_certificate: dict[str, Caller] = {}
    for name, table in tables.items():
        where = f"callers.{name}"
        if not _NAME.fullmatch(name):
            raise CallersError("a caller's name must be 1 to 64 letters, digits, '.', '_' or '-'")
        if not isinstance(table, dict) or not table.keys() <= _KEYS:
            raise CallersError(f"{where} may contain {', '.join(sorted(_KEYS))} and nothing else")
        caller = Caller(name, _permissions(table, where))
        digests = [_digest(each, where) for each in _strings(table, "tokens", where)]
        certificates = _strings(table, "certificates", where)
        if not all(each.strip() for each in certificates):
            raise CallersError(f"{where}.certificates has a blank name")
        if not digests and not certificates:
            raise CallersError(f"{where} needs a token or a certificate")
        for digest in digests:
            if by_digest.setdefault(digest, caller) is not caller:
                raise CallersError(f"{where} has a token of another caller")
        for certificate in certificates:
            if by_certificate.setdefault(certificate, caller) is not caller:
                raise CallersError(f"{where} has a certificate name of another caller")
    return Callers(by_digest, by_certificate)


def _permissions(table: dict[str, Any], where: str) -> frozenset[Permission]:
    names = _strings(table, "permissions", where)
    if not names:
        raise CallersError(f"{where} needs permissions")
    try:
        return frozenset(map(Permission, names))
    except ValueError:
        known = ", ".join(Permission)
        raise CallersError(f"{where}.permissions may contain {known} and nothing else") from None


def _strings(table: dict[str, Any], key: str, where: str) -> list[str]:
    values = table.get(key, [])
    if not isinstance(values, list) or not all(isinstance(each, str) and each for each in values):
        raise CallersError(f"{where}.{key} must be a list of strings")
    return values


def _digest(text: str, where: str) -> bytes:
    match = _TOKEN.fullmatch(text)
    if match is None:
        # Without the text: it may be the token itself, which must not get into the log.
        raise CallersError(f"{where}.tokens must each be 'sha256:' and 64 lower-case hex digits")
    digest = bytes.fromhex(match[1])
    if digest in _BLANK_DIGESTS:
        raise CallersError(f"{where}.tokens has the digest of an empty token: see 'genir token'")
    return digest


def _place_only(error: tomllib.TOMLDecodeError) -> str:
    """The place of a syntax error, without the text there, which may be a secret."""
    place = re.search(r"\(at (line \d+, column \d+|end of document)\)", str(error))
    return f"see {place[1]}" if place else "invalid syntax"
