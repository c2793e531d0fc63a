"""The page Judge with images that a generator makes for the test."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.latent.space import LatentSpace
from plenish.metrics.reader_study import readings_of_run
from plenish.report.inputs import gather
from plenish.report.readers import readers
from plenish.studio.catalogue import Catalogue, id_of
from plenish.studio.config import StudioConfig
from plenish.studio.judge import PAGE, start_reading
from plenish.studio.pages import Asked, Studio
from plenish.studio.sessions import Sessions
from plenish.studio.wordbook import Words

from .conftest import GENERATOR  # type: ignore[import-not-found]

N = 12


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    shutil.copytree(GENERATOR, tmp_path / "gan")
    rng = np.random.default_rng(0)
    for name, size in (("real", 12), ("large", 16)):
        with DatasetWriter(
            tmp_path / name, name=name, size=size, channels=1, config={},
            labels=LabelSchema("categorical", ("across", "down")),
        ) as writer:  # fmt: skip
            labels = ["across" if i % 5 else "down" for i in range(60)]
            writer.add(
                rng.integers(0, 256, (60, size, size, 1), np.uint8), [{"label": one} for one in labels]
            )
            writer.splits["default"] = ["test" if i % 3 == 0 else "train" for i in range(60)]
    catalogue = Catalogue([tmp_path / "gan"], [tmp_path / "real", tmp_path / "large"])
    studio = Studio(StudioConfig(), catalogue, Sessions(session_mb=8))
    yield studio
    studio.sessions.close()


def test_a_generator_is_judged_and_the_answers_are_kept_in_its_run(studio: Studio, tmp_path: Path) -> None:
    session, words = studio.sessions.of("ana"), Words("en")
    sides = id_of(tmp_path / "real"), id_of(tmp_path / "gan")
    with pytest.raises(InputError, match="Write your name"):
        start_reading(studio, words, session, *sides, "  ", N)
    start_reading(studio, words, session, *sides, " ana maria ", N)
    shown = []
    for n in range(N):
        picture = PAGE.routes["image"](studio, Asked(session, {"n": str(n)}, words)).content
        shown.append(np.asarray(Image.open(io.BytesIO(picture))))
        said = PAGE.actions["answer"](studio, Asked(session, {"n": str(n), "answer": "real"}, words)).content
    assert b"50 %" in said
    (found,) = readings_of_run(tmp_path / "gan")
    assert found["synthetic"]["weights_sha256"]
    space, real = LatentSpace(tmp_path / "gan"), Dataset.open(tmp_path / "real")
    made = space.images(space.draw(found["synthetic"]["seeds"]))  # The classes in turn.
    ids, classes = {str(i): row for row, i in enumerate(real.table["id"])}, []
    for pixels, answer in zip(shown, found["answers"], strict=True):
        if answer["origin"] == "real":
            row = ids[answer["id"]]
            assert row % 3 != 0  # None of the test part.
            assert (pixels == real.pixels.read(np.array([row]))[0, ..., 0]).all()
            classes.append(real.table["label"].iloc[row])
        else:
            number = found["synthetic"]["seeds"].index(int(answer["id"].removeprefix("seed ")))
            assert (pixels == made[number, ..., 0]).all()
    assert sorted(classes) == ["across"] * 3 + ["down"] * 3
    section = readers(gather(run=tmp_path / "gan"))
    assert section is not None
    assert "ana" in json.dumps(section.blocks[0].rows)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("real", "synthetic", "count"),
    [("large", "gan", N), ("gan", "gan", N), ("real", "real", N), ("real", "gan", 60)],
)
def test_images_that_cannot_stand_beside_each_other_are_refused(
    studio: Studio, tmp_path: Path, real: str, synthetic: str, count: int
) -> None:
    session = studio.sessions.of("ana")
    with pytest.raises(InputError):
        start_reading(
            studio, Words("en"), session, id_of(tmp_path / real), id_of(tmp_path / synthetic), "ana", count
        )
    assert not (tmp_path / "gan" / "readers").exists()
