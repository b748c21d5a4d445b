"""Who calls and what it may do, as every transport and observer knows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from genir_server.domain.errors import GenirError, Reason


class Permission(StrEnum):
    """What a caller may be allowed to do, spelled as in the callers file."""

    GENERATE = "generate"
    WARMUP = "warmup"
    DEBUG = "debug"


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller.

    Attributes:
        name: as the callers file has it, or the name in a certificate; "" when nobody was asked.
        permissions: what it may do.
    """

    name: str
    permissions: frozenset[Permission]

    def require(self, permission: Permission) -> None:
        """Refuses what the caller may not do, without a word on what would be needed.

        Raises:
            GenirError: PERMISSION_DENIED.
        """
        if permission not in self.permissions:
            raise GenirError(Reason.PERMISSION_DENIED, "this caller may not do that")


ANYONE = Caller("", frozenset(Permission))
"""Every caller of a server that authenticates nobody."""
