"""Sampling on an idle server: temperature 0 and seeds are repeatable, other seeds differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.calls import wait_until_idle

if TYPE_CHECKING:
    from genir import IRClient

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "minLength": 10, "maxLength": 80},
        "tag": {"type": "string", "minLength": 3, "maxLength": 12},
    },
    "required": ["title", "tag"],
    "additionalProperties": False,
}
PROMPT = "Invent a title and a tag for an article about compilers."


@pytest.fixture(autouse=True)
def idle(client: IRClient) -> None:
    wait_until_idle(client)


def _ir(client: IRClient, temperature: float, seed: int | None = None) -> str:
    return client.generate(PROMPT, schema=SCHEMA, temperature=temperature, seed=seed).ir_json


def test_temperature_zero_gives_identical_bytes(client: IRClient) -> None:
    _ir(client, 0.0)  # Fills the prefix cache, so that both calls below run the same way.
    assert _ir(client, 0.0) == _ir(client, 0.0)


def test_different_seeds_give_different_irs(client: IRClient) -> None:
    assert len({_ir(client, 1.2, seed) for seed in range(4)}) > 1


def test_the_same_seed_gives_the_same_ir(client: IRClient) -> None:
    _ir(client, 1.2, 42)
    assert _ir(client, 1.2, 42) == _ir(client, 1.2, 42)
