"""Identifies the caller of a call, by bearer token or client certificate.

A refusal comes before any of the request is read, and always has the same message, so that it
reveals nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genir_server.auth.callers import Callers, CallersError, read_callers
from genir_server.auth.watched_files import ReloadError, WatchedFiles
from genir_server.domain.caller import ANYONE, UNLISTED_PERMISSIONS, Caller, Permission
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
    # Any known caller may call it. A deep check needs DEBUG, checked when the request is read.
    "Health": None,
}
"""The permission for each method of IRService; a method that is missing here needs DEBUG."""

_BEARER = "bearer "
_MAX_NAME = 256


class Authentication:
    """Identifies callers, with a callers file that is reloaded when it changes.

    Without a file, every caller with a client certificate may call every method. Without client
    certificates too, every caller may.

    Args:
        callers_file: the callers file, see `genir_server.auth.callers`.
        certificates: whether connections have verified client certificates.

    Raises:
        ReloadError: the file cannot be read or is malformed.
    """

    def __init__(self, callers_file: Path | None = None, *, certificates: bool = False) -> None:
        self._certificates = certificates
        self._callers: Callers | None = None
        self.files: WatchedFiles | None = None
        if callers_file is not None:
            self._path = callers_file
            self.files = WatchedFiles("callers", (callers_file,), self._load)

    @property
    def on(self) -> bool:
        """Whether callers must authenticate."""
        return self._certificates or self._callers is not None

    def caller_of(self, context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
        """Identifies the caller of a call.

        Raises:
            GenirError: UNAUTHENTICATED.
        """
        if not self.on:
            return ANYONE
        authorization = [
            value for key, value in context.invocation_metadata() or () if key == "authorization"
        ]
        if authorization and self._callers is not None:
            found = self._from_token(authorization)
        else:
            found = self._from_certificate(context) if self._certificates else None
        if found is None:
            raise GenirError(Reason.UNAUTHENTICATED, "the call has no valid credentials")
        return found

    def _from_token(self, authorization: list[str | bytes]) -> Caller | None:
        if self._callers is None or len(authorization) != 1:
            return None
        value = authorization[0]
        text = value if isinstance(value, str) else value.decode("ascii", "replace")
        if not text.lower().startswith(_BEARER):
            return None
        return self._callers.with_token(text[len(_BEARER) :].strip().encode())

    def _from_certificate(self, context: grpc.aio.ServicerContext[Any, Any]) -> Caller | None:
        names = tuple(_certificate_names(context.auth_context()))
        if self._callers is not None:
            return self._callers.with_certificate(names)
        return Caller(names[0][:_MAX_NAME], UNLISTED_PERMISSIONS) if names else None

    def _load(self) -> None:
        try:
            self._callers = read_callers(self._path.read_text())
        except OSError as error:
            raise ReloadError(f"cannot read {error.filename}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise ReloadError(f"{self._path}: not UTF-8") from None
        except CallersError as error:
            raise ReloadError(f"{self._path}: {error}") from error


def method_permission(method: str) -> Permission | None:
    """Returns the permission that a method of IRService needs; None if any known caller may."""
    return METHOD_PERMISSIONS.get(method, Permission.DEBUG)


def _certificate_names(context: Any) -> Iterator[str]:  # noqa: ANN401 - typed loosely by gRPC.
    if b"ssl" not in context.get("transport_security_type", ()):
        return
    names = [*context.get("peer_dns", ()), *context.get("peer_uri", ())]
    # As browsers do: the common name counts only without subject alternative names.
    if not context.get("x509_subject_alternative_name"):
        names += context.get("x509_common_name", ())
    # A blank name identifies nobody.
    yield from (name for name in map(_printable, names) if name.strip())


def _printable(value: bytes) -> str:
    """A name without control characters, safe for log lines."""
    return "".join(
        each if each.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for each in value.decode(errors="replace")
    )
