from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from plenish.datasets.rejections import Rejection
from plenish.errors import InputError
from plenish.parallel import executor
from plenish.slides.names import SlideEntry
from plenish.slides.planning import Plan
from plenish.slides.tile_jobs import TileJob, TileResult, TileWorker, map_plans, map_tiles
from plenish.slides.tiling_config import OutputOptions, TilingConfig

from .conftest import tiling_config


@pytest.fixture
def config() -> TilingConfig:
    return tiling_config(size=64, min_tissue=0, max_pen=0.9)


def entry_of(path: Path) -> SlideEntry:
    return SlideEntry(path, path.stem, path.name)


def plan(entry: SlideEntry, config: TilingConfig, workers: int = 1) -> Plan | Rejection:
    with executor(workers, TileWorker, (config, entry.path.with_name("out"))) as pool:
        file = entry.path.with_suffix(".npz")
        [(_, rejection)] = map_plans(pool, [(entry, file)])
    return rejection or Plan.load(file)


def jobs_of(path: Path, config: TilingConfig) -> list[TileJob]:
    """The slide's tiles in jobs of five."""
    made = plan(entry_of(path), config)
    assert isinstance(made, Plan)
    return [TileJob(entry_of(path), made.take(slice(i, i + 5))) for i in range(0, len(made), 5)]


def read(
    jobs: list[TileJob], config: TilingConfig, workers: int, *output: Path | OutputOptions
) -> list[TileResult]:
    with executor(workers, TileWorker, (config, *output)) as pool:
        found = list(map_tiles(pool, jobs, config.grid.size))
    assert all(job is given for (job, _), given in zip(found, jobs, strict=True))
    return [result for _, result in found]


def kinds(result: TileResult) -> list[str | None]:
    """The rejection of each tile, None of those that are not rejected."""
    return [tile.code if isinstance(tile, Rejection) else None for tile in result.tiles]


def test_results_come_in_order_and_do_not_depend_on_workers(make_slide, config: TilingConfig) -> None:
    jobs = jobs_of(make_slide(), config)
    for one, other in zip(read(jobs, config, 1), read(jobs, config, 3), strict=True):
        assert one.tiles == other.tiles
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_a_tile_that_ends_a_worker_is_found_and_rejected(
    make_slide, tmp_path: Path, config: TilingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_slide()
    jobs = jobs_of(path, config)
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[2]
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nread = os.pread\n"
        f"os.pread = lambda file, n, at: os._exit(7) if at == {offset} else read(file, n, at)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result, after = read(jobs[:2], config, 2)
    assert kinds(result) == [None, None, "crash", None, None]
    assert result.tiles[2].values["exit_status"] == 7
    assert len(result.pixels) == 4
    assert len(after.pixels) == 5


def test_whatever_a_slide_makes_libraries_raise_is_a_rejection(
    make_slide, tmp_path: Path, config: TilingConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs = jobs_of(make_slide(), config)
    # A column that is not a number stands for any unforeseen error.
    columns = np.array([0, 1, None])
    broken = dataclasses.replace(
        jobs[0], plan=dataclasses.replace(jobs[0].plan.take(slice(3)), columns=columns)
    )
    wrong = dataclasses.replace(jobs[0].slide, mpp="half")  # type: ignore[arg-type]
    scaled = tiling_config(size=64, mpp=0.5)
    gone = dataclasses.replace(jobs[0], slide=entry_of(Path("gone.svs")))
    for workers in (1, 2):
        result, lost = read([broken, gone], config, workers)
        assert kinds(result) == [None, None, "tile"]
        assert "TypeError" in result.tiles[2].values["reason"]
        assert kinds(lost) == ["tile"] * 5
        rejection = plan(wrong, scaled, workers)
        assert isinstance(rejection, Rejection)
        assert rejection.code == "slide"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("workers", [1, 2])
def test_what_cannot_be_written_is_an_error(
    make_slide, tmp_path: Path, config: TilingConfig, workers: int
) -> None:
    jobs = jobs_of(make_slide(), config)
    (tmp_path / "out.partial").write_bytes(b"")
    with pytest.raises(InputError, match=r"out\.partial"):
        read(jobs, config, workers, tmp_path / "out", OutputOptions("png"))


def _reading(pid: int) -> bool:
    """Whether a process has the slide open, and so has started."""
    return any(str(fd.readlink()).endswith("slide.tif") for fd in Path(f"/proc/{pid}/fd").iterdir())


def test_a_worker_that_is_killed_is_replaced(make_slide, config: TilingConfig) -> None:
    jobs = jobs_of(make_slide(), config) * 3
    with executor(2, TileWorker, (config,)) as pool:
        results = map_tiles(pool, jobs, config.grid.size)
        first = next(results)
        threads = Path("/proc/self/task").glob("*/children")
        children = [int(pid) for listed in threads for pid in listed.read_text().split()]
        mine = [p for p in children if b"plenish" in Path(f"/proc/{p}/cmdline").read_bytes()]
        busy = [pid for pid in mine if _reading(pid)]  # At least the one that sent the first result.
        assert busy
        os.kill(busy[0], signal.SIGKILL)
        found = [first, *results]
    assert [len(result.pixels) for _, result in found] == [len(job.plan) for job in jobs]


def test_a_slide_that_is_gone_is_a_rejection(tmp_path: Path, config: TilingConfig) -> None:
    rejection = plan(entry_of(tmp_path / "gone.svs"), config, 2)
    assert isinstance(rejection, Rejection)
    assert (rejection.source, rejection.code) == ("gone.svs", "slide")


@pytest.mark.parametrize(
    "make", [lambda: tiling_config(mpp=0.5, priority=["a"], holes=["b"], rename=["x=y"]), tiling_config]
)
def test_a_configuration_survives_json(make: Callable[[], TilingConfig]) -> None:
    import json

    config = make()
    assert TilingConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config
