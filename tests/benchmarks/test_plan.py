"""The simulated queue of shards in benchmarks/plan.py agrees with what can be derived."""

import importlib
import math
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("plan")


def test_without_failures_it_takes_the_sum_of_the_shards(plan):
    folder, never = plan.Folder(1e12, 32_000), plan.Machine(0.0, 300.0)
    one = plan.simulate(1e5, 1000, 1, folder, never, seed=0)
    assert one.hours == pytest.approx(1e5 / 1469 + 1000 * plan.START_S / 3600, rel=0.01)
    assert one.repeated == 0
    eight = plan.simulate(1e5, 1000, 8, folder, never, seed=0)
    assert eight.hours == pytest.approx(one.hours / 8, rel=0.02)


def test_a_slow_folder_sets_the_pace(plan):
    folder = plan.Folder(1469 * 32_000, 32_000)  # enough for one machine
    assert plan.effective_rate(1, folder) == plan.effective_rate(4, folder) * 4
    never = plan.Machine(0.0, 300.0)
    took = [plan.simulate(1e6, 1000, n, folder, never, seed=0).hours for n in (1, 4)]
    assert took[1] == pytest.approx(took[0], rel=0.02)


def test_the_repeated_share_is_that_of_exponential_failures(plan, monkeypatch):
    monkeypatch.setattr(plan, "SPREAD", 0.0)
    folder, often = plan.Folder(1e12, 32_000), plan.Machine(24.0, 0.0)  # once an hour
    shard_h = 1.0
    outcome = plan.simulate(1469 * 4000 * shard_h, 4000, 50, folder, often, seed=0)
    expected = 1 - shard_h / math.expm1(shard_h)  # of a shard's time to all time spent on it
    assert outcome.repeated == pytest.approx(expected, abs=0.02)
