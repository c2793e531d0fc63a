"""Several processes train as one does: gradients, weights, logs, Runs."""

from __future__ import annotations

import os
import random
import runpy
import signal
import subprocess
import sys
import time
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.training.forked import SERVER
from torch.distributed import TCPStore

from plenish import cli
from plenish.datasets.dataset import Dataset
from plenish.runs import Run
from plenish.training import checkpoints

JOB = Path(__file__).with_name("ranks_job.py")
CASES = list(runpy.run_path(str(JOB))["CASES"])
QUICK = ["dcgan, ADA", "stylegan2", "flow", "classifier", "other package"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
ALONE = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}


def _distance(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], kind: str) -> float:
    """‖Δ‖/‖x‖ over all tensors of a kind."""
    names = [name for name in ours if name.startswith(kind)]
    assert names, kind
    pairs = [(ours[name].double(), theirs[name].double()) for name in names]
    apart = sum(float((a - b).square().sum()) for a, b in pairs)
    size = sum(float(b.square().sum()) for _, b in pairs)
    return (apart / size) ** 0.5


def _together(world: int, words: list[str], seconds: float = 270) -> None:
    """Run a script in as many processes as train together, with the environment that torchrun gives them.

    The first to fail, the deadline, and the end of the test end all of them.

    Args:
        world: how many.
        words: the script, its folder, and further arguments.
        seconds: until the deadline.

    Raises:
        AssertionError: with what the processes wrote as errors.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {
        "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    errors = [Path(words[1], f"errors-{rank}-of-{world}.txt") for rank in range(world)]
    processes: list[BaseProcess] = []
    try:
        for rank, path in enumerate(errors):
            code = (
                "import faulthandler, os, runpy, signal, sys\n"
                f"os.dup2(os.open({str(path)!r}, os.O_WRONLY | os.O_CREAT), 2)\n"
                "faulthandler.enable()\n"
                "faulthandler.register(signal.SIGTERM, chain=True)\n"  # Where it waits.
                f"os.environ.update({common | {'RANK': str(rank)}!r})\n"
                f"sys.argv = {words!r}\n"
                "runpy.run_path(sys.argv[0], run_name='__main__')"
            )
            processes.append(SERVER.Process(target=exec, args=(code, {})))
            processes[-1].start()
        _wait(processes, seconds)
    finally:
        codes = [process.exitcode for process in processes]
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(10)
            process.kill()
            process.join()
    told = "\n".join(f"{path.name}:\n{path.read_text()}" for path in errors if path.exists())
    assert codes == [0] * world, f"exit codes {codes}; None was ended by the test\n{told}"


def _wait(processes: list[BaseProcess], seconds: float) -> None:
    """Wait until all processes have ended, one has failed, or some time has passed."""
    end, running = time.monotonic() + seconds, {process.sentinel: process for process in processes}
    while running:
        ended = [running.pop(one) for one in connection.wait(list(running), end - time.monotonic())]  # type: ignore[call-overload]
        for process in ended:
            process.join()
        if not ended or any(process.exitcode for process in ended):
            return


@pytest.mark.parametrize(
    ("first", "seconds", "said"),
    [("raise ValueError('no rank 1')", 60, "ValueError: no rank 1"), ("endless()", 1, r"\[None, None\]")],
)
def test_processes_that_fail_or_hang_are_told(tmp_path: Path, first: str, seconds: float, said: str) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        "import os, time\n"
        "def endless():\n"
        "    while True: time.sleep(1)\n"
        f"if os.environ['RANK'] == '1': {first}\n"
        "endless()\n"
    )
    with pytest.raises(AssertionError, match=said) as failed:
        _together(2, [str(script), str(tmp_path)], seconds)
    assert "errors-1-of-2" in str(failed.value)


def _compare(folder: Path, cases: list[str], steps: int) -> None:
    for world in (1, 2):
        _together(world, [str(JOB), str(folder), str(steps), *cases])
    for case in cases:
        one, first, second = (
            load_file(folder / f"{case}-{name}.safetensors") for name in ("0-of-1", "0-of-2", "1-of-2")
        )
        assert one.keys() == first.keys()
        assert all(torch.equal(first[name], second[name]) for name in first), "the processes agree"
        assert _distance(first, one, "value.0") < 1e-5, case
        assert _distance(first, one, "gradient") < 1e-5, case
        assert _distance(first, one, "weight") < 1e-3, case
        if any(name.startswith("buffer") for name in one):
            assert _distance(first, one, "buffer") < 1e-2, case


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    _compare(tmp_path, QUICK, 5)  # Penalties with intervals of up to 4 come twice.


@pytest.mark.slow
def test_two_processes_train_every_model_as_one_does(tmp_path: Path) -> None:
    _compare(tmp_path, CASES, 10)


def _command(data: Dataset, run: Path, processes: int, kimg: float) -> list[str]:
    launcher = [*TORCHRUN, str(processes)] if processes > 1 else [sys.executable]
    return [
        *launcher, "-m", "plenish", "train", "gan", str(data.path), str(run), "--kimg", f"{kimg:g}",
        "--recipe", "dcgan", "--batch", "10", "--checkpoint-kimg", "0.1",
        "--threads", "1", "--precision", "float32", "--quiet",
        "--options", "network.width=4", "network.max_width=8", "network.z_dim=8", "schedule.log_kimg=0.05",
        "schedule.validate=20", "augment.ada_target=0.6", "adversarial.lr_g=1e-4", "adversarial.lr_d=1e-4",
    ]  # fmt: skip


def _processes(launcher: int) -> dict[int, int]:
    """Process ids of the ranks that a launcher has started."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            environment = (path / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        ranks = [entry for entry in environment if entry.startswith(b"RANK=")]
        if parent == launcher and ranks:
            found[int(ranks[0].partition(b"=")[2])] = int(path.name)
    return found


def _kill_one(command: list[str], run: Path, rank: int, delay: float) -> None:
    """Start a job, wait until it trains, and some time more, then kill one of its processes."""
    status = run / "status.json"
    before = status.stat().st_mtime_ns if status.exists() else 0
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ALONE)
    while job.poll() is None:
        if (
            status.exists()
            and status.stat().st_mtime_ns != before
            and "engine" in status.read_text(encoding="utf-8")
        ):
            break
        time.sleep(0.02)
    time.sleep(delay)
    os.kill(_processes(job.pid)[rank], signal.SIGKILL)
    job.communicate(timeout=120)
    assert job.returncode != 0, "a job that loses a process ends"


def _assert_near(run: Path, whole: Path) -> None:
    newest = [checkpoints.newest_intact(path / "checkpoints") for path in (run, whole)]
    assert newest[0] is not None
    assert newest[1] is not None
    ours, theirs = (
        {f"weight.{p.stem}.{k}": v for p in path.glob("[gd].safetensors") for k, v in load_file(p).items()}
        for path in newest
        if path is not None
    )
    assert _distance(ours, theirs, "weight") < 0.02


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_killed_process_stops_all_and_any_number_resumes(stripes, tmp_path: Path) -> None:
    data, kimg, moments = stripes(), 0.5, random.Random(0)
    subprocess.run(_command(data, tmp_path / "whole", 1, kimg), check=True, capture_output=True)
    for number in range(10):
        run = tmp_path / f"{number}"
        _kill_one(_command(data, run, 2, kimg), run, number % 2, moments.uniform(0, 2))
        assert all(map(checkpoints.intact, checkpoints.list_checkpoints(run / "checkpoints")))
        resume = _command(data, run, 1 + number // 2 % 2, kimg)
        subprocess.run(resume, check=True, capture_output=True, env=ALONE)
        assert Run.open(run).state == "complete"
        table = Run.open(run).metrics()
        assert table["kimg"].is_monotonic_increasing
        assert sorted(table.dropna(subset=["kid_val"])["kimg"]) == pytest.approx(
            [k / 10 for k in range(1, 6)]
        )
        _assert_near(run, tmp_path / "whole")


@pytest.mark.slow
def test_a_run_of_two_processes_is_that_of_one(stripes, tmp_path: Path) -> None:
    data, kimg = stripes(), 0.2
    run, whole = tmp_path / "two", tmp_path / "one"
    subprocess.run(_command(data, whole, 1, kimg), check=True, capture_output=True)
    done = subprocess.run(_command(data, run, 2, kimg), check=True, capture_output=True, text=True, env=ALONE)
    assert done.stdout.count("complete") == 1, "one process reports"
    assert Run.open(run).status["engine"]["processes"] == 2
    _assert_near(run, whole)
    ours, theirs = Run.open(run).metrics(), Run.open(whole).metrics()
    assert list(ours) == list(theirs)
    assert ours["loss_d"].dropna().to_numpy() == pytest.approx(theirs["loss_d"].dropna().to_numpy(), rel=1e-2)
    resumed = subprocess.run(_command(data, run, 1, 0.3), check=True, capture_output=True)
    assert resumed.returncode == 0
    assert Run.open(run).status["kimg"] == 0.3
    assert "processes" not in Run.open(run).status["engine"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_batch_that_cannot_be_divided_is_refused(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: int
) -> None:
    """Before the processes look for each other: here there is no other one."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", str(rank))
    command = _command(stripes(), tmp_path / "run", 1, 0.2)
    command[command.index("--batch") + 1] = "9"
    assert cli.run(command[command.index("train") :]) == 2
    assert "A batch of 9" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_torchrun_ends_with_what_its_processes_refuse(stripes, tmp_path: Path) -> None:
    command = _command(stripes(), tmp_path / "run", 2, 0.2)
    command[command.index("--batch") + 1] = "9"
    done = subprocess.run(command, capture_output=True, text=True, env=ALONE, check=False)
    assert done.returncode != 0
    assert "A batch of 9" in done.stderr
    assert not (tmp_path / "run").exists()
