"""The cells of a study at work: one after another here, or several at once in worker processes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

from plenish import parallel, settings
from plenish.progress import Bar, progress
from plenish.runs import Run
from plenish.study import cells
from plenish.study.cells import Key
from plenish.study.data import StudyData
from plenish.study.hardened import slower
from plenish.study.robust_test import RobustTest
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_precision import Precision
from plenish.training.engine import Engine
from plenish.wording import plural


@dataclasses.dataclass(frozen=True)
class CellContext:
    """What cells need, in this process or in a worker's.

    Attributes:
        run: the study's Run.
        folds: what each fold trains and tests on; one without folds.
        config: how to train.
        precision: the network's measured preference.
        robust: how classifiers are attacked; None: not.
    """

    run: Run
    folds: Sequence[StudyData]
    config: ClassifierConfig
    precision: Precision
    robust: RobustTest | None = None

    def cell(self, key: Key, on_step: Callable[[int], None]) -> None:
        """Make a cell and write it."""
        cells.run_cell(
            self.run, key, self.folds[key.fold or 0], self.config, precision=self.precision, on_step=on_step,
            robust=self.robust,
        )  # fmt: skip


def run_cells(
    context: CellContext, todo: Sequence[Key], workers: int, threads: int, on: str = parallel.HERE
) -> Iterator[int]:
    """Make cells; after each, how many are left.

    Args:
        context: what they need.
        todo: which, in order.
        workers: processes at once; 1 works in this one, unless they are on Ray.
        threads: of each worker process.
        on: where the processes run (`parallel.executor`).

    Raises:
        WorkerLost: a process ended during a cell.
    """
    assert context.config.steps is not None
    # Those of a hardened arm count several times, as they take: the time left would be far too short else.
    batch = [context.config.batch * slower(key.arm, context.robust) for key in todo]
    with progress("training classifiers", sum(batch) * context.config.steps) as bar:
        left = len(todo)
        if workers <= 1 and on == parallel.HERE:
            for key, images in zip(todo, batch, strict=True):
                left -= 1
                bar.note(_named(key) + (f", {left} to follow" if left else ""))
                context.cell(key, _advancing(bar, images))
                yield left
            return
        told = dataclasses.replace(settings.current(), threads=threads, quiet=True)
        bar.note(f"{plural(workers, 'process')} at once")
        at_once, gpu = min(workers, len(todo)), Engine.from_settings().device.type == "cuda"
        with parallel.executor(at_once, _worker, (told, context), on=on, cores=threads, gpu=gpu) as run:
            done = run.map_ordered(_cell, todo, ahead=len(todo), reject=_lost)
            for _, images in zip(done, batch, strict=True):
                left -= 1
                bar.advance(images * context.config.steps)
                yield left


def _advancing(bar: Bar, images: float) -> Callable[[int], None]:
    return lambda _: bar.advance(images)


def _named(key: Key) -> str:
    fold = "" if key.fold is None else f", fold {key.fold}"
    return f"{key.arm.name}, seed {key.seed + 1}{fold}"


@contextlib.contextmanager
def _worker(told: settings.Settings, context: CellContext) -> Iterator[CellContext]:
    with settings.use(**dataclasses.asdict(told)):
        yield context


def _cell(context: CellContext, key: Key) -> None:
    context.cell(key, lambda _: None)


def _lost(key: Key, status: int) -> None:
    raise parallel.WorkerLost(
        f"A worker process ended during the cell '{_named(key)}', perhaps for want of memory; finished cells "
        "are kept. Give the same command with fewer --workers.",
        status,
    )
