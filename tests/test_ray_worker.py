"""Jobs on Ray: the contract of an executor, with a stand-in for Ray and, where it is installed, with Ray."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import socket
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plenish
from plenish import cli, settings
from plenish.errors import InputError
from plenish.parallel import check_place, executor
from plenish.ray_worker import _share

JOBS = """
import contextlib, os
from plenish.errors import InputError

@contextlib.contextmanager
def adding(offset):
    yield offset

def square(offset, job):
    if job < 0:
        os._exit(7)
    return job * job + offset

def changed(offset, job):
    job[...] += 1
    return job

def refusing(offset, job):
    raise InputError("sentence")

def place(offset, job):
    return os.getcwd(), os.getpid()
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    (tmp_path / "ray_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.delitem(sys.modules, "ray_jobs", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return importlib.import_module("ray_jobs")


def lost(job: Any, exit_status: int) -> Any:
    return "lost"


class Gone(Exception):
    """What the stand-in raises for an actor that ended."""


class StandIn(types.ModuleType):
    """As much of Ray as a worker uses, with actors in this process; a negative job ends its actor."""

    def __init__(self, cores: int = 8) -> None:
        super().__init__("ray")
        self.cores, self.asked = cores, list[dict[str, Any]]()
        self.running, self.full = False, False
        self.exceptions = types.SimpleNamespace(RayActorError=Gone, GetTimeoutError=TimeoutError)

    def is_initialized(self) -> bool:
        return self.running

    def init(self, **asked: Any) -> None:
        self.asked.append(asked)
        if asked["address"] == "nowhere":
            raise ConnectionError("no answer.\nmore lines")
        self.running = True

    def shutdown(self) -> None:
        self.running = False

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self.cores)}

    def remote(self, kind: type) -> Any:
        stand_in = self

        class Actor:
            def __init__(self) -> None:
                self.real, self.ended = kind(), False

            def __getattr__(self, name: str) -> Any:
                def ask(message: bytes, folder: str) -> Any:
                    import pickle

                    if self.ended or pickle.loads(message)[1] == -1:
                        self.ended = True
                        return Gone()
                    return getattr(self.real, name)(message, folder)

                return types.SimpleNamespace(remote=ask)

        def options(**asked: Any) -> Any:
            stand_in.asked.append(asked)
            return types.SimpleNamespace(remote=Actor)

        return types.SimpleNamespace(options=options)

    def get(self, result: Any, timeout: float | None = None) -> Any:
        if self.full and timeout is not None:
            raise TimeoutError
        if isinstance(result, Gone):
            raise result
        return result

    @staticmethod
    def kill(actor: Any) -> None:
        actor.ended = True


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    ray = StandIn()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr("plenish.ray_worker.is_installed", lambda: True)
    return ray


def test_jobs_on_ray_come_in_order_and_a_lost_worker_costs_its_job(
    jobs: types.ModuleType, stand_in: StandIn
) -> None:
    with executor(3, jobs.adding, (5,), on="ray", cores=2) as pool:
        found = [r for _, r in pool.map_ordered(jobs.square, [*range(20), -1, 3], ahead=4, reject=lost)]
        assert stand_in.is_initialized()
    assert found == [*(n * n + 5 for n in range(20)), "lost", 14]
    assert not stand_in.is_initialized(), "the Ray that was started is ended"
    begun, actors = stand_in.asked[:2]
    assert (begun["address"], begun["num_cpus"], begun["include_dashboard"]) == ("local", 6, False)
    assert (actors["num_cpus"], actors["num_gpus"], actors["max_restarts"]) == (2, 0, 0)


def test_a_connection_of_the_caller_is_left_alone(jobs: types.ModuleType, stand_in: StandIn) -> None:
    stand_in.running = True
    with executor(1, jobs.adding, (0,), on="ray:auto") as pool:
        assert [r for _, r in pool.map_ordered(jobs.square, [3], ahead=0, reject=lost)] == [9]
    assert stand_in.is_initialized()
    assert "address" not in stand_in.asked[0], "only actors were asked for"


def test_an_error_of_a_job_is_raised_here(jobs: types.ModuleType, stand_in: StandIn) -> None:
    with pytest.raises(InputError, match="sentence"), executor(1, jobs.adding, (0,), on="ray") as pool:
        list(pool.map_ordered(jobs.refusing, [1], ahead=0, reject=lost))
    assert not stand_in.is_initialized()


@pytest.mark.parametrize(
    ("on", "workers", "match"),
    [("ray", 9, "Ray has 8 cores, and 9 workers"), ("ray:nowhere", 2, "at 'nowhere' .no answer.; start")],
)
def test_a_cluster_that_is_too_small_or_does_not_answer_is_told(
    on: str, workers: int, match: str, jobs: types.ModuleType, stand_in: StandIn
) -> None:
    with pytest.raises(InputError, match=match), executor(workers, jobs.adding, (0,), on=on):
        pass
    assert not stand_in.is_initialized()


def test_what_is_no_place_is_refused_and_a_missing_ray_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("plenish.ray_worker.is_installed", lambda: False)
    check_place("here")
    for on in ("rey", "ray:", "here:4", ""):
        with pytest.raises(InputError, match="Unknown --on"):
            check_place(on)
    assert cli.run(["study", str(tmp_path), str(tmp_path / "out"), "--on", "ray", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "pip install 'plenish[ray]'" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("stand_in")
def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(InputError, match="No Ray answers"):
            check_place(f"ray:127.0.0.1:{taken.getsockname()[1]}")


with_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture
def cluster(jobs: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray on this machine, for the length of a test."""
    before = dict(os.environ)
    import ray

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    size = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 2**28}
    ray.init(address="local", log_to_driver=False, logging_level="ERROR", **size)
    with contextlib.ExitStack() as stack:
        stack.callback(ray.shutdown)
        yield
    for name in {*os.environ} - {*before}:  # Ray sets some of its own.
        del os.environ[name]


@with_ray
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_ray_itself_keeps_the_contract(
    jobs: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with executor(2, jobs.adding, (5,), on="ray") as pool:
        found = [r for _, r in pool.map_ordered(jobs.square, [*range(10), -1, 3], ahead=4, reject=lost)]
        assert found == [*(n * n + 5 for n in range(10)), "lost", 14]
        arrays = [np.zeros((300, 1000), np.uint8), np.zeros(0)]
        for (_, array), sent in zip(pool.map_ordered(jobs.changed, arrays, ahead=1, reject=lost), arrays):
            np.testing.assert_array_equal(array, sent + np.uint8(1))
            array[...] = 0
        places = {r for _, r in pool.map_ordered(jobs.place, range(8), ahead=8, reject=lost)}
        assert {folder for folder, _ in places} == {str(tmp_path)}
        assert os.getpid() not in {process for _, process in places}
        with pytest.raises(InputError, match="sentence"):
            list(pool.map_ordered(jobs.refusing, [1], ahead=0, reject=lost))
    with pytest.raises(InputError, match="Ray has 2 cores"), executor(3, jobs.adding, (0,), on="ray"):
        pass


@with_ray
@pytest.mark.slow
def test_cells_on_ray_are_those_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plenish.commands.datasets import make_phantom, split_dataset

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    source = str(Path(plenish.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([source, *filter(None, sys.path)]))
    monkeypatch.chdir(tmp_path)
    with settings.use(quiet=True, threads=1):
        make_phantom(Path("data"), patients=8, tiles=6, size=16)
        split_dataset(Path("data"))
    asked = ["--arms", "real", "oversample", "--seeds", "2", "--steps", "4", "--batch", "8", "--threads", "1"]
    for out, more in (("alone", []), ("ray", ["--on", "ray", "--workers", "2"])):
        assert cli.run(["study", "data", out, "--resamples", "100", "--quiet", *asked, *more]) == 0
    tables = sorted(Path("alone/cells").glob("*.parquet"))
    assert len(tables) == 4
    for table in tables:
        assert table.read_bytes() == (Path("ray/cells") / table.name).read_bytes()


def test_workers_that_fit_on_no_machine_are_told(jobs: types.ModuleType, stand_in: StandIn) -> None:
    stand_in.full = True
    with (
        pytest.raises(InputError, match="did not begin within 120 s"),
        executor(1, jobs.adding, (0,), on="ray") as pool,
    ):
        list(pool.map_ordered(jobs.square, [1], ahead=0, reject=lost))


@pytest.mark.parametrize(
    ("gpus", "workers", "share"), [(2, 3, 1 / 2), (1, 3, 1 / 3), (4, 2, 1.0), (4, 9, 1 / 3)]
)
def test_a_share_of_a_gpu_lies_on_one(gpus: int, workers: int, share: float) -> None:
    assert _share(gpus, workers) == share
    assert gpus * int(1 / share + 1e-9) >= workers
