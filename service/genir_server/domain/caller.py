"""A caller and its permissions, as every transport and observer sees them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from genir_server.domain.errors import GenirError, Reason


class Permission(StrEnum):
    """A permission, spelled as in the callers file."""

    GENERATE = "generate"
    WARMUP = "warmup"
    DEBUG = "debug"


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller.

    Attributes:
        name: its name in the callers file or in its certificate; "" without authentication.
        permissions: what it may do.
    """

    name: str
    permissions: frozenset[Permission]

    def require(self, permission: Permission) -> None:
        """Refuses a caller without `permission`. The message does not name the permission.

        Raises:
            GenirError: PERMISSION_DENIED.
        """
        if permission not in self.permissions:
            raise GenirError(Reason.PERMISSION_DENIED, "this caller may not do that")


ANYONE = Caller("", frozenset(Permission))
"""The caller of every call on a server without authentication."""
