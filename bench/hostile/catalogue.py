"""Lists every hostile schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.hostile.compiling import COMPILING
from bench.hostile.reading import READING
from bench.hostile.writing import WRITING

if TYPE_CHECKING:
    from bench.hostile.cases import Case

CASES: tuple[Case, ...] = (*READING, *COMPILING, *WRITING)
"""All hostile schemas. Names are unique."""
