"""Limits on processor time grow while other processes make the machine slow."""

from __future__ import annotations

import pytest

from genir_server.schema.isolation.slowness import MACHINE, Slowness


class Machine:
    """A machine on which the fixed work takes as long as the test says."""

    def __init__(self) -> None:
        self.work_seconds = 0.001
        self.processor = 0.0
        self.now = 0.0
        self.runs = 0

    def work(self) -> None:
        self.runs += 1
        self.processor += self.work_seconds


def test_factor_follows_how_much_longer_the_fixed_work_takes() -> None:
    machine = Machine()
    slowness = Slowness(machine.work, lambda: machine.processor, lambda: machine.now)
    assert slowness.factor() == pytest.approx(1.0)
    for work_seconds, factor in (
        (0.002, 2.0),
        (0.1, 3.0),
        (0.001, 1.0),
        (0.0005, 1.0),
        (0.001, 2.0),
    ):
        machine.work_seconds = work_seconds
        machine.now += 1.0
        assert slowness.factor() == pytest.approx(factor)


def test_factor_is_not_measured_for_every_job() -> None:
    machine = Machine()
    slowness = Slowness(machine.work, lambda: machine.processor, lambda: machine.now)
    slowness.factor()
    runs = machine.runs
    for _ in range(100):
        slowness.factor()
    assert machine.runs == runs


def test_clock_without_resolution_gives_no_factor() -> None:
    assert Slowness(lambda: None, lambda: 0.0, lambda: 0.0).factor() == 1.0


def test_this_machine_is_measured() -> None:
    assert 1.0 <= MACHINE.factor() <= 3.0
