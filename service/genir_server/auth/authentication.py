"""Finds out who calls: by bearer token, or by the certificate of the connection.

What is refused here is refused before a byte of the request is taken in, and with the same words
whatever is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genir_server.auth.callers import Callers, CallersError, read_callers
from genir_server.auth.reloading import FollowedFiles, ReloadError
from genir_server.domain.caller import ANYONE, Caller, Permission
from genir_server.domain.errors import GenirError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import grpc

METHOD_PERMISSIONS: dict[str, Permission | None] = {
    "GenerateIR": Permission.GENERATE,
    "StreamIR": Permission.GENERATE,
    "CheckSchema": Permission.GENERATE,
    "Warmup": Permission.WARMUP,
    # Whoever is known may ask; a deep check needs DEBUG, which is seen only in the message.
    "Health": None,
}
"""What a caller needs for each method of IRService; DEBUG for one that is not here."""

_BEARER = "bearer "
_MAX_NAME = 256


class Authentication:
    """Tells the caller of a call, from a file that is followed.

    Without a file, whoever has a certificate of the clients' authority may do everything; without
    either, everybody may.

    Args:
        callers_file: the callers file, see `genir_server.auth.callers`.
        certificates: whether connections bring verified client certificates.

    Raises:
        ReloadError: the file cannot be read or is malformed.
    """

    def __init__(self, callers_file: Path | None = None, *, certificates: bool = False) -> None:
        self._certificates = certificates
        self._callers: Callers | None = None
        self.files: FollowedFiles | None = None
        if callers_file is not None:
            self._path = callers_file
            self.files = FollowedFiles("callers", (callers_file,), self._load)

    @property
    def on(self) -> bool:
        """Whether anybody is asked who they are."""
        return self._certificates or self._callers is not None

    def caller_of(self, context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
        """Who makes the call.

        Raises:
            GenirError: UNAUTHENTICATED.
        """
        if not self.on:
            return ANYONE
        authorization = [
            value for key, value in context.invocation_metadata() or () if key == "authorization"
        ]
        if authorization and self._callers is not None:
            found = self._with_token(authorization)
        else:
            found = self._with_certificate(context) if self._certificates else None
        if found is None:
            raise GenirError(
                Reason.UNAUTHENTICATED, "the call does not come with valid credentials"
            )
        return found

    def _with_token(self, authorization: list[str | bytes]) -> Caller | None:
        if self._callers is None or len(authorization) != 1:
            return None
        value = authorization[0]
        text = value if isinstance(value, str) else value.decode("ascii", "replace")
        if not text.lower().startswith(_BEARER):
            return None
        return self._callers.with_token(text[len(_BEARER) :].strip().encode())

    def _with_certificate(self, context: grpc.aio.ServicerContext[Any, Any]) -> Caller | None:
        names = tuple(_certificate_names(context.auth_context()))
        if self._callers is not None:
            return self._callers.with_certificate(names)
        return Caller(names[0][:_MAX_NAME], frozenset(Permission)) if names else None

    def _load(self) -> None:
        try:
            self._callers = read_callers(self._path.read_text())
        except OSError as fault:
            raise ReloadError(f"cannot read {fault.filename}: {fault.strerror}") from fault
        except UnicodeDecodeError:
            raise ReloadError(f"{self._path}: not UTF-8") from None
        except CallersError as fault:
            raise ReloadError(f"{self._path}: {fault}") from fault


def method_permission(method: str) -> Permission | None:
    """What a method of IRService needs; None for nothing beyond being known."""
    return METHOD_PERMISSIONS.get(method, Permission.DEBUG)


def _certificate_names(context: Any) -> Iterator[str]:  # noqa: ANN401 - typed loosely by gRPC.
    if b"ssl" not in context.get("transport_security_type", ()):
        return
    for key in ("peer_dns", "peer_uri"):
        yield from map(_printable, context.get(key, ()))
    # As browsers do: the common name counts only where there is no other.
    if not context.get("x509_subject_alternative_name"):
        yield from map(_printable, context.get("x509_common_name", ()))


def _printable(value: bytes) -> str:
    """A name as it may stand in a log line."""
    return "".join(
        each if each.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for each in value.decode(errors="replace")
    )
