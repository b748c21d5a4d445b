"""Places that all callers share, of which no caller can take the last ones.

A fixed number for each caller would either waste places or let a few callers take all of them.
Here the number falls with the free places, as in the dynamic thresholds of switches with shared
memory (Choudhury and Hahne, 1998): a caller who holds many is refused before the places run out,
and one who holds none is refused only when there is none.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir_server.domain.errors import GenirError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_TIMES_FREE = 8
"""A caller may hold this many times the free places: alone 8 of 9, as one of two 8 of 17."""

_RETRY_AFTER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a caller gets no place.

    Attributes:
        why: the reason, to be shown to the caller.
        maximum: the limit that was reached.
    """

    why: str
    maximum: int


class SharedPlaces:
    """Counts the places that each caller holds, and says who may take more.

    Args:
        what: what takes a place, as a clause, such as "calls are in flight".
        total: places in all; None for no limit.
        per_caller: maximum places of one caller; None for no limit of its own. With `total` or
            more, one caller may hold all of them.
    """

    def __init__(self, what: str, total: int | None, per_caller: int | None = None) -> None:
        self._what = what
        self._total = total
        self._per_caller = per_caller
        self._held: Counter[str] = Counter()
        self._taken = 0

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return self._taken

    def held_by(self, caller: str) -> int:
        """Returns the places that a caller holds."""
        return self._held[caller]

    def callers(self) -> tuple[str, ...]:
        """Returns the callers who hold places."""
        return tuple(self._held)

    def refusal(self, caller: str, amount: int = 1) -> Refusal | None:
        """Returns why a caller may not take so many more places; None if it may."""
        held = self._held[caller]
        if self._per_caller is not None and held + amount > self._per_caller:
            why = f"{held} of your {self._what}; one caller may have {self._per_caller}"
            return Refusal(why, self._per_caller)
        if self._total is None:
            return None
        free = self._total - self._taken
        if amount > free:
            return Refusal(f"{self._taken} {self._what}; the maximum is {self._total}", self._total)
        may_hold_all = self._per_caller is not None and self._per_caller >= self._total
        if held and not may_hold_all and held + amount > MAX_TIMES_FREE * free:
            why = (
                f"{held} of your {self._what}, and what is left of {self._total} is kept for "
                "other callers"
            )
            return Refusal(why, self._total)
        return None

    def take(self, caller: str, amount: int = 1) -> None:
        """Counts places as held, whether or not there are so many."""
        self._held[caller] += amount
        self._taken += amount

    def give_back(self, caller: str, amount: int = 1) -> None:
        """Counts places as free again."""
        self._taken -= amount
        self._held[caller] -= amount
        if not self._held[caller]:
            # Otherwise the names of past callers would pile up.
            del self._held[caller]

    @contextmanager
    def held(self, caller: str) -> Iterator[None]:
        """Holds one place for the length of a ``with`` block.

        Raises:
            GenirError: OVERLOADED if the caller may not take one.
        """
        refusal = self.refusal(caller)
        if refusal is not None:
            raise GenirError(
                Reason.OVERLOADED,
                f"{refusal.why}: try again later or on another server",
                retry_after=_RETRY_AFTER_SECONDS,
                metadata={"max": str(refusal.maximum)},
            )
        self.take(caller)
        try:
            yield
        finally:
            self.give_back(caller)
