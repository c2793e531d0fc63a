"""Fixtures for tests of what benchmarks measure: races that take a moment."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from benchmarks import baseline, race
from plenish.training.engine import Engine


@pytest.fixture(autouse=True)
def _short_races(monkeypatch: pytest.MonkeyPatch) -> None:
    """Race against a small product, and watch a reader for a few batches."""
    monkeypatch.setattr(race, "MATRIX", 64)
    monkeypatch.setattr(baseline, "data_wait", functools.partial(race.data_wait, steps=3))


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the baseline's turns in this process, which need not load torch anew."""

    @contextlib.contextmanager
    def here(job: Mapping[str, Any]) -> Iterator[Callable[[], float]]:
        engine = Engine.from_settings()
        step = baseline.build_step(job, engine)
        yield lambda: race.turn(step, engine)

    monkeypatch.setattr(baseline, "baseline_process", here)
