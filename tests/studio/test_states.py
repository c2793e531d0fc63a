"""States of images: what is read from a browser, and the commands that repeat them."""

from __future__ import annotations

import base64
import io
import json
import shlex
import shutil
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from plenish.cli import run
from plenish.errors import InputError
from plenish.progress import progress
from plenish.studio import blend, edit, explore, jobs
from plenish.studio.catalogue import Catalogue, id_of
from plenish.studio.config import StudioConfig
from plenish.studio.generators import Generators, generators_of
from plenish.studio.pages import Asked, Studio
from plenish.studio.sessions import Session, Sessions
from plenish.studio.states import point_of, read_state
from plenish.studio.uploads import take
from plenish.studio.wordbook import Words

from .conftest import GENERATOR  # type: ignore[import-not-found]


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    shutil.copytree(GENERATOR, tmp_path / "gan")
    monkeypatch.chdir(tmp_path)
    return Studio(StudioConfig(), Catalogue([Path("gan")]), Sessions(8))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session("ana", tmp_path, 2**20)


def _state(**more: Any) -> dict[str, Any]:
    return {"run": id_of(Path("gan")), "psi": 1, "y": [0.25, 0.75], "base": {"seed": 3}, "moves": {}} | more


def _ask(studio: Studio, session: Session, action: Any, body: Any = None, **query: str) -> Any:
    reply = action(studio, Asked(session, query, Words("en"), json.dumps(body).encode()))
    return json.loads(reply.content) if reply.kind == "application/json" else reply.content


def _wait(job: jobs.Job) -> None:
    while not job.done:
        time.sleep(0.01)


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


PLANE = {"plane": "random", "seeds": [1, 2, 3], "at": [0.5, -1]}
LATENT = {"space": "z", "values": base64.b64encode(np.array([0.5, -2], "<f4").tobytes()).decode()}


@pytest.mark.parametrize("base", [{"seed": 3}, PLANE, LATENT], ids=["seed", "plane", "latent"])
@pytest.mark.parametrize("moves", [{}, {"sefa-1": 1.5, "sefa-2": -0.5}], ids=["plain", "moved"])
def test_the_commands_make_the_image_of_the_page(
    studio: Studio, session: Session, base: dict[str, Any], moves: dict[str, float]
) -> None:
    state = _state(base=base, moves=moves, psi=0.75)
    shown = _pixels(_ask(studio, session, explore.image, state))
    saved = _ask(studio, session, explore.download, {"states": [state]})
    with zipfile.ZipFile(io.BytesIO(saved)) as files:
        files.extractall(".")
    np.testing.assert_array_equal(_pixels(Path("image.png").read_bytes()), shown)
    for line in Path("commands.txt").read_text().splitlines():
        assert run([*shlex.split(line)[1:], "--quiet"]) == 0
    made, own = np.load("image/latents.npy"), np.load("latent-of-the-image.npy")
    np.testing.assert_allclose(made[-1:], own, atol=1e-5)
    generators = generators_of(studio)
    again = generators.space(state["run"], 0.75)
    images = again.images(again.given(made[-1:], "z", np.load("image/labels.npy")[-1:]))
    np.testing.assert_allclose(images[0].squeeze().astype(int), shown.astype(int), atol=1)


def test_a_state_is_itself_after_it_was_read(studio: Studio) -> None:
    generators = generators_of(studio)
    for base in ({"seed": 3}, PLANE, LATENT):
        once = read_state(
            generators, _state(base={**base, "more": "x"}, moves={"sefa-1": 2, "sefa-2": 0})
        ).to_json()
        assert once == read_state(generators, once).to_json()
        assert "more" not in once["base"]
        assert once["moves"] == {"sefa-1": 2}


WRONG = [
    None, [], "x", {}, {"run": 3}, {"run": "../../etc"}, {"run": "gan"}, _state(psi=2), _state(psi=None),
    _state(psi=True), _state(y=[1]), _state(y=[2, -1]), _state(y=[0.2, 0.2]), _state(y=["a", 1]),
    _state(y={"0": 1}), _state(base=None), _state(base={}), _state(base={"seed": -1}),
    _state(base={"seed": 1.5}), _state(base={"seed": 2**40}), _state(base={"seed": True}),
    _state(base=PLANE | {"plane": "other"}), _state(base=PLANE | {"seeds": [1, 2]}),
    _state(base=PLANE | {"at": [float("nan"), 0]}), _state(base=PLANE | {"at": [1e9, 0]}),
    _state(base=PLANE | {"at": [1]}), _state(base=LATENT | {"space": "q"}),
    _state(base=LATENT | {"space": "w"}), _state(base=LATENT | {"values": "§"}),
    _state(base=LATENT | {"values": "AAA="}), _state(base=LATENT | {"values": ""}),
    _state(base=LATENT | {"values": "A" * 4000}),
    _state(base=LATENT | {"values": base64.b64encode(np.array([np.nan, 1], "<f4").tobytes()).decode()}),
    _state(moves=[]), _state(moves={"../x": 1}), _state(moves={"sefa-1": "1"}),
    _state(moves={"sefa-1": 1e9}), _state(moves={"sefa-9": 1}),
    _state(moves={str(i): 1 for i in range(99)}),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_is_no_state_is_refused_in_a_sentence(studio: Studio, number: int) -> None:
    wrong = WRONG[number]
    if isinstance(wrong, dict) and wrong.get("base") is not None:
        wrong = wrong | {"run": id_of(Path("gan"))}
    with pytest.raises(InputError) as caught:
        read_state(generators_of(studio), wrong)
    assert str(studio.catalogue.runs()[id_of(Path("gan"))].resolve()) not in str(caught.value)


def test_bodies_and_lists_that_are_none_are_refused(studio: Studio, session: Session) -> None:
    for body in (b"", b"[]", b"\xff", b"[" * 100_000):
        with pytest.raises(InputError):
            explore.image(studio, Asked(session, {}, Words("en"), body))
    states = [_state()]
    for action, wrong in (
        (explore.sheet_of, {"states": states, "across": "x"}),
        (explore.sheet_of, {"states": [], "across": 1}),
        (explore.sheet_of, {"states": states * 65, "across": 1}), (explore.download, {"states": states * 41}),
        (explore.download, {"states": states * 2, "names": ["a", "a"]}), (blend.blended, {"states": states}),
        (blend.blended, {"states": states * 3}), (blend.between, {"states": states * 2, "number": 99}),
        (blend.download, {"states": states * 2, "film": "exe"}), (edit.equation, {"terms": [1, 2]}),
        (edit.equation, {"terms": [{"factor": "x", "state": states[0]}] * 2}),
        (edit.start_counterfactual, {"state": states[0], "classifier": "x", "to": "down"}),
    ):  # fmt: skip
        with pytest.raises(InputError):
            _ask(studio, session, action, wrong)


def test_a_downloaded_name_stays_in_the_archive(studio: Studio, session: Session) -> None:
    body = {"states": [_state()] * 2, "names": ["../../a", "/etc/b"]}
    with zipfile.ZipFile(io.BytesIO(_ask(studio, session, explore.download, body))) as files:
        assert {name.split("/")[0] for name in files.namelist()} == {"a", "etc-b"}


def test_a_blend_begins_and_ends_at_its_images_and_its_command_repeats_it(
    studio: Studio, session: Session
) -> None:
    states = [_state(base=LATENT, y=[1, 0]), _state(base=PLANE, y=[0, 1])]
    generators = generators_of(studio)
    way = blend.way(generators, [read_state(generators, one) for one in states])
    for place, one in ((0, states[0]), (-1, states[1])):
        np.testing.assert_array_equal(
            way.values[place], point_of(generators, read_state(generators, one)).values[0]
        )
    saved = _ask(studio, session, blend.download, {"states": states, "film": "gif"})
    with zipfile.ZipFile(io.BytesIO(saved)) as files:
        files.extractall(".")
    (line,) = Path("commands.txt").read_text().splitlines()
    assert run([*shlex.split(line)[1:], "--quiet"]) == 0
    np.testing.assert_allclose(np.load("blend/latents.npy")[: blend.FRAMES], way.values, atol=1e-6)
    np.testing.assert_allclose(np.load("blend/labels.npy")[: blend.FRAMES], way.y, atol=1e-6)
    cell = _ask(studio, session, blend.between, {"states": states * 2, "number": 6})
    assert read_state(generators, cell).start.y.tolist() == [[0, 1]]


def test_flip_and_equation_say_what_they_did(studio: Studio, session: Session) -> None:
    flipped = _ask(studio, session, edit.flip, _state(y=[1, 0]))
    assert flipped["state"]["y"] == [0, 1]
    assert flipped["commands"] == ["plenish edit flip gan flipped --seeds 3 --label across"]
    terms = [
        {"factor": f, "state": _state(base={"seed": s}, y=[0, 1])} for f, s in ((1, 4), (-1, 5), (0.5, 6))
    ]
    found = _ask(studio, session, edit.equation, {"terms": terms})
    (line,) = found["commands"]
    assert run([*shlex.split(line)[1:], "--quiet"]) == 0
    made = read_state(generators_of(studio), found["state"]).start.values
    np.testing.assert_allclose(np.load("sum/latents.npy")[-1:], made, atol=1e-6)


def test_an_upload_is_inverted_with_progress_for_its_own_session_alone(
    studio: Studio, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blend, "STEPS", 60)
    target = _ask(studio, session, explore.image, _state(y=[0, 1]))
    key = take(session, target, studio.config)
    begun = _ask(studio, session, blend.start_inversion, run=id_of(Path("gan")), picture=key)
    job = session.state(jobs.Jobs).known[begun["job"]]
    _wait(job)
    found = _ask(studio, session, blend.look, job=begun["job"])
    assert found["problem"] == ""
    assert found["share"] == 1
    assert found["result"]["error"] < 1e-3
    other = Session("eva", tmp_path, 2**20)
    with pytest.raises(InputError):
        _ask(studio, other, blend.look, job=begun["job"])
    with pytest.raises(InputError):
        _ask(studio, other, blend.start_inversion, run=id_of(Path("gan")), picture=key)
    assert not (tmp_path / "gan" / "encoders").exists()


def test_work_is_bounded_and_stops_with_its_session(studio: Studio, session: Session) -> None:
    go, seen = threading.Event(), []

    def slow() -> dict[str, Any]:
        with progress("waiting", 2) as bar:
            assert go.wait(20)
            bar.advance(1)
            seen.append("went on")
        return {}

    keys = [jobs.start(studio, session, slow)["job"] for _ in range(3)]
    with pytest.raises(InputError, match="wait"):
        jobs.start(studio, session, slow)
    known = session.state(jobs.Jobs).known
    session.close()
    go.set()
    for key in keys:
        _wait(known[key])
    assert seen == []


def test_generators_are_shared_and_few_are_kept(tmp_path: Path) -> None:
    paths = [tmp_path / f"gan{i}" for i in range(6)]
    for path in paths:
        shutil.copytree(GENERATOR, path)
    generators = Generators(Catalogue(paths))
    first = generators.space(id_of(paths[0]))
    assert generators.space(id_of(paths[0]), 0.5).network is first.network
    assert first.options["truncation"] == 1
    for path in paths:
        generators.space(id_of(path))
    assert len(generators._spaces) == 4
    with pytest.raises(InputError):
        generators.space("0" * 12)
