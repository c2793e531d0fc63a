from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from plenish.errors import InputError
from plenish.studio.catalogue import Catalogue, id_of, names_of_runs
from plenish.studio.config import StudioConfig
from plenish.studio.pages import Asked, Studio
from plenish.studio.runs import PAGE, start_training, trainings_of
from plenish.studio.sessions import Sessions
from plenish.studio.trainings import Training, Trainings
from plenish.studio.wordbook import Words


def test_a_training_is_stopped_by_who_started_it_alone(tmp_path: Path) -> None:
    trainings = Trainings(most=1)
    words = ["phantom", str(tmp_path / "big"), "--patients", "2000", "--tiles", "1", "--size", "16"]
    key = trainings.start("ana", words, tmp_path / "big")
    with pytest.raises(InputError):
        trainings.start("eva", words, tmp_path / "other")
    assert trainings.of("eva") == {}
    with pytest.raises(InputError):
        trainings.stop("eva", key)
    training = trainings.of("ana")[key]
    while training.is_running and not (tmp_path / "big.partial").exists():
        time.sleep(0.05)
    trainings.stop("ana", key)
    assert training.process.wait(120) == 130
    assert "interrupted" in training.text()
    assert trainings.close() == []
    assert not training.log.exists()


def test_trainings_can_be_listed_while_others_start(tmp_path: Path) -> None:
    trainings = Trainings(most=1)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(60)
    ended = Training("ana", tmp_path, "", process, tmp_path / "log", 0.0)
    problems: list[BaseException] = []
    listed = threading.Event()

    def look() -> None:
        listed.set()
        try:
            assert len(trainings.of("ana")) == 1
        except BaseException as error:
            problems.append(error)

    with trainings._lock:  # As `start` holds it.
        thread = threading.Thread(target=look)
        thread.start()
        assert listed.wait(60)
        thread.join(0.05)
        trainings._all["one"] = ended
    thread.join(60)
    assert problems == []


@pytest.fixture
def studio(given: Path, tmp_path: Path) -> Studio:
    config = StudioConfig(new_runs=tmp_path / "new")
    catalogue = Catalogue([given / "runs"], [given / "real", given / "synthetic"], config.new_runs)
    return Studio(config, catalogue, Sessions(session_mb=8))


REFUSED: tuple[dict[str, object], ...] = (
    {"data": "/etc"}, {"data": "synthetic"}, {"recipe": "../x.yaml"}, {"recipe": "caption-x"},
    {"unit": "--json"}, {"length": 0}, {"length": float("nan")}, {"length": None}, {"length": 1e9},
    {"name": "../out"}, {"name": "/tmp/x"}, {"name": "a b"}, {"name": ".."}, {"name": "x\0y"},
)  # fmt: skip


def test_what_cannot_be_trained_is_refused(studio: Studio, given: Path) -> None:
    for change in REFUSED:
        wanted = {"data": "real", "recipe": "auto", "unit": "kimg", "length": 1.0, "name": "gan"} | change
        if wanted["data"] in ("real", "synthetic"):
            wanted["data"] = id_of(given / str(wanted["data"]))
        with pytest.raises(InputError):
            start_training(studio, "ana", **wanted)  # type: ignore[arg-type]
    assert not (studio.config.new_runs or given).exists()
    studio.sessions.close()


def test_a_catalogue_knows_what_it_was_given_alone(studio: Studio, given: Path) -> None:
    catalogue = studio.catalogue
    assert [path.name for path in catalogue.runs().values()] == ["gan", "sides", "tiny"]
    assert [data.name for data in catalogue.real().values()] == ["real"]
    for key in (str(given / "real"), "..", "", id_of(given)):
        with pytest.raises(InputError):
            catalogue.dataset(key)
        with pytest.raises(InputError):
            catalogue.run(key)
    with pytest.raises(InputError):
        Catalogue([given / "none"])
    with pytest.raises(InputError):
        Catalogue([given / "new"] if (given / "new").is_dir() else [given / "none"])
    studio.sessions.close()


def test_runs_of_one_folder_name_are_told_apart(given: Path, tmp_path: Path) -> None:
    for above in ("a", "b"):
        shutil.copytree(given / "runs" / "gan", tmp_path / above / "gan")
    folders = [tmp_path / "a", tmp_path / "b", given / "runs" / "tiny"]
    studio = Studio(StudioConfig(), Catalogue(folders), Sessions(session_mb=8))
    paths, asked = studio.catalogue.runs(), []
    assert list(names_of_runs(paths).values()) == ["gan (a)", "gan (b)", "tiny"]
    studio.catalogue.runs = lambda: asked.append(1) or paths  # type: ignore[method-assign,func-returns-value]
    session = studio.sessions.of("ana")
    shown = PAGE.routes["shown"](studio, Asked(session, {"runs": ",".join(list(paths)[:2])}, Words("en")))
    assert b"gan (a)</h3>" in shown.content
    assert b"gan (b)</h3>" in shown.content
    assert len(asked) == 1
    assert PAGE.routes["table"](studio, Asked(session, {}, Words("en"))).content.count(b"data-open") == 3
    assert len(asked) == 2
    studio.sessions.close()


def test_a_length_reaches_the_training_as_it_was_given(studio: Studio, given: Path) -> None:
    words: list[str] = []
    trainings = trainings_of(studio)
    trainings.start = lambda owner, given, run: words.extend(given) or ""  # type: ignore[assignment,func-returns-value]
    trainings.of = lambda owner: {"": None}  # type: ignore[assignment,dict-item,return-value]
    start_training(studio, "ana", id_of(given / "real"), "auto", "kimg", 12345.678, "long")
    assert words[words.index("--kimg") + 1] == "12345.678"
    studio.sessions.close()
