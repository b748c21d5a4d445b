"""Sizes of a run: short for daily use, full for publication, tiny to test the harness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class ReplayScope:
    """Numbers of streams at `pace` tokens a second each, and seconds of each measurement.

    `fastest` streams get their tokens as fast as they request them.
    """

    streams: tuple[int, ...]
    seconds: float
    pace: float = 100.0
    fastest: int = 64
    tokens_per_delta: tuple[int, ...] = (1, 8, 16)


@dataclass(frozen=True, slots=True)
class SchemaCostScope:
    """Sizes of schemas in bytes, and rounds."""

    sizes: tuple[int, ...]
    rounds: int


@dataclass(frozen=True, slots=True)
class BackendScope:
    """Requests to each backend."""

    backends: tuple[str, ...]
    sizes: tuple[int, ...]
    temperatures: tuple[float, ...]
    calls: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class Scope:
    """All parts of a run."""

    concurrencies: tuple[int, ...]
    rounds: int
    prompts: int
    calls: Callable[[int], int]
    replay: ReplayScope
    schema_cost: SchemaCostScope
    backends: BackendScope


def _calls(concurrency: int) -> int:
    return max(2, concurrency)


def _tiny_calls(concurrency: int) -> int:
    return concurrency


SCOPES: Mapping[str, Scope] = {
    "tiny": Scope(
        concurrencies=(1, 4),
        rounds=1,
        prompts=4,
        calls=_tiny_calls,
        replay=ReplayScope((64,), 4.0, tokens_per_delta=(1, 16)),
        schema_cost=SchemaCostScope((2_000,), 2),
        backends=BackendScope(("guidance", "xgrammar"), (2_000,), (0.0,), 2, 2),
    ),
    "short": Scope(
        concurrencies=(1, 8),
        rounds=2,
        prompts=8,
        calls=_calls,
        replay=ReplayScope((64, 500), 6.0, tokens_per_delta=(1, 16)),
        schema_cost=SchemaCostScope((2_000, 50_000), 3),
        backends=BackendScope(
            ("guidance", "xgrammar", "auto"), (2_000, 50_000), (0.0, 1.0), calls=4, concurrency=4
        ),
    ),
    "full": Scope(
        concurrencies=(1, 2, 4, 8, 16, 32),
        rounds=2,
        prompts=32,
        calls=_calls,
        replay=ReplayScope((64, 250, 500, 1000), 10.0, tokens_per_delta=(1, 8, 16, 32)),
        schema_cost=SchemaCostScope((2_000, 10_000, 50_000), 5),
        backends=BackendScope(
            ("guidance", "xgrammar", "auto"),
            (2_000, 50_000),
            (0.0, 0.3, 1.0),
            calls=4,
            concurrency=4,
        ),
    ),
}
