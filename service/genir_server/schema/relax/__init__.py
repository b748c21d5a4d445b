"""Turns a caller's schema into one that the engine can enforce and that accepts no less.

`relax` is the way in. The result is written in the few keywords that llguidance enforces, with
all references pointing into one flat `$defs`; every keyword that is not enforced as it stands is
reported as a notice.
"""

from genir_server.schema.relax.convert import Relaxed, relax

__all__ = ["Relaxed", "relax"]
