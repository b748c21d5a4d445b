"""Turns a caller's schema into one that the engine can enforce and that accepts every valid value.

The entry point is `relax`. The result uses only keywords that llguidance enforces, and all its
references point into one flat `$defs`. Every keyword that is not enforced as it stands is reported
as a notice.
"""

from genir_server.schema.relax.convert import Relaxed, relax

__all__ = ["Relaxed", "relax"]
