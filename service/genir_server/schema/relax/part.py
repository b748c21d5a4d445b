"""One object of an engine schema, with what the caller's schema says beyond it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genir_server.schema.interval import Interval


class Part(dict[str, object]):
    """An object of an engine schema.

    What was left out of it travels with the object itself: tables keyed by `id` would give the
    facts of a part that is gone to the next one at its address.

    Attributes:
        origin: the caller's pointer for it; None where only the part around it has one.
        capped_items: a `maxItems` that is left out because it is too large.
        divisor: a `multipleOf` that is left out because of negative numbers.
        divisor_at: the caller's pointer to its `multipleOf`.
        wide_format: the name of the format for which a wide pattern stands.
        interval: what the caller's bounds on a number say.
        left_out: the caller's pointers to keywords about numbers that it does not enforce.

    """

    __slots__ = (
        "capped_items",
        "divisor",
        "divisor_at",
        "interval",
        "left_out",
        "origin",
        "wide_format",
    )

    def __init__(self, keywords: dict[str, object] | None = None) -> None:
        super().__init__(keywords or {})
        self.origin: str | None = None
        self.capped_items: int | None = None
        self.divisor: float | None = None
        self.divisor_at: str | None = None
        self.wide_format: str | None = None
        self.interval: Interval | None = None
        self.left_out: frozenset[str] = frozenset()

    def become(self, other: dict[str, object]) -> None:
        """Copies the keywords of another object, and what was left out of it."""
        self.clear()
        self.update(other)
        if isinstance(other, Part):
            for name in Part.__slots__:
                setattr(self, name, getattr(other, name))
