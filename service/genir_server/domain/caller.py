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
    # `priority` of a request ranks it among the calls of other callers, not only of its own.
    PRIORITY = "priority"


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


UNLISTED_PERMISSIONS = frozenset(Permission) - {Permission.PRIORITY}
"""The permissions of callers on a server without a callers file, where none is above another."""

ANYONE = Caller("", UNLISTED_PERMISSIONS)
"""The caller of every call on a server without authentication."""
