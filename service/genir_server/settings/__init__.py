"""Everything an operator can set, from flags and ``GENIR_*`` variables."""

from genir_server.settings.model import ServerSettings

__all__ = ["ServerSettings"]
