"""Says in one line why a connection could not be made where gRPC's text only hints at it. Pure."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"last error: [A-Z_]+: (\S+): ")
_CONNECTING = "failed to connect"
_FAULTS = {
    "WRONG_VERSION_NUMBER": "does not use TLS: leave out the credentials (--tls, --ca and --cert)",
    "CERTIFICATE_VERIFY_FAILED": "has a certificate that is not trusted: name its authority with "
    "tls_credentials(ca=...), or --ca",
    "Hostname Verification": "has a certificate for other names than this target: use one of them",
}
_CLOSED = "Socket closed"
# Any peer may close a connection, so these are guesses.
_CLOSES_PLAIN = (
    "closes unencrypted connections, perhaps because it uses TLS: give "
    "credentials=tls_credentials(), or --tls"
)
_CLOSES_SECURE = (
    "closes connections with TLS, perhaps because it wants a client certificate that it trusts: "
    "give tls_credentials(cert=..., key=...), or --cert and --key"
)


def tls_fault(details: str, *, secure: bool) -> str | None:
    """What is wrong with TLS in a failed attempt to connect; None when it is something else.

    Args:
        details: gRPC's text of the status UNAVAILABLE.
        secure: whether the client uses TLS.

    """
    if not details.startswith(_CONNECTING):
        return None
    address = _ADDRESS.search(details)
    where = address[1] if address else "the server"
    for sign, text in _FAULTS.items():
        if sign in details:
            return f"{where} {text}"
    if _CLOSED in details:
        return f"{where} {_CLOSES_SECURE if secure else _CLOSES_PLAIN}"
    return None
