"""Moving away from patients: planted copies are refused, and what cannot be moved is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.latent.test_counterfactual import model, space, trained, trained_once  # noqa: F401

from plenish import files
from plenish.commands.anonymise import anonymise
from plenish.commands.score_edits import score_edits
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.latent import edit_scores
from plenish.latent.anonymise import move_away
from plenish.latent.counterfactual_options import AnonymiseOptions
from plenish.latent.identity_audit import Found, IdentityAudit


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Images of coarse noise, none like another, in groups of two."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (96, 8, 8, 1)).repeat(2, 1).repeat(2, 2).astype(np.uint8)
    parts = ["train"] * 64 + ["val"] * 32
    rows = [{"label": None, "group": f"g{i // 2}", "source": f"{i}", "part": parts[i]} for i in range(96)]
    with DatasetWriter(
        tmp_path_factory.mktemp("noise") / "noise",
        name="noise",
        size=16,
        channels=1,
        labels=LabelSchema(),
        config={},
    ) as writer:
        writer.add(pixels, rows)
    return writer.dataset


def test_a_planted_copy_is_refused_and_a_new_picture_accepted(noise):
    train = noise.part("train", purpose="score").images()
    new = np.random.default_rng(9).integers(0, 256, (1, 8, 8, 1)).repeat(2, 1).repeat(2, 2).astype(np.uint8)
    elsewhere = np.random.default_rng(8).integers(0, 256, (1, 8, 8, 1)).repeat(2, 1).repeat(2, 2)
    audit = IdentityAudit(noise, "default", np.concatenate([train[:1], elsewhere.astype(np.uint8)]))
    assert audit.is_train.tolist() == [True, False]
    flipped = np.ascontiguousarray(train[5:6, :, ::-1])
    images = np.concatenate([train[:1], elsewhere.astype(np.uint8), flipped, new])
    found = audit(images, np.array([0, 1, 0, 0]))
    # The given image that is not in the Dataset counts as known too.
    assert found.accepted.tolist() == [False, False, False, True]
    assert found.copy_score[0] < 0.01 < found.copy_score[3]
    assert found.own.tolist() == [True, True, False, False]


def test_where_the_nearest_picture_is_ones_own_an_image_is_refused_however_far_it_is(noise):
    train = noise.part("train", purpose="score")
    given = train.images()[[0, 6]]
    audit = IdentityAudit(noise, "default", given)
    # Pictures 0 and 1 are of one group: what is nearest to either is the first's own, and not the second's.
    images = train.images()[[0, 1, 6, 8]]
    assert audit(images, np.array([0, 0, 0, 0])).own.tolist() == [True, True, False, False]
    assert audit(images, np.array([1, 1, 1, 1])).own.tolist() == [False, False, True, False]
    # Half way to grey is far from everything and still nearest to where it came from.
    faint = (given[:1].astype(np.float64) * 0.5 + 64).astype(np.uint8)
    found = audit(faint, np.array([0]))
    assert found.own[0]
    assert not found.accepted[0]
    # A held-out image's own pictures are itself alone: its group has no others among the known ones.
    held = noise.part("val", purpose="score").images()[:2]
    audit = IdentityAudit(noise, "default", held)
    assert audit(held, np.array([0, 1])).own.all()
    assert audit(held, np.array([1, 0])).own.all()  # Both are of one group.
    assert audit.own.sum() == 4


class _Audit:
    """Accepts images whose mean is more than some grey levels from a known one."""

    def __init__(self, mean: float, off: float) -> None:
        self.mean, self.off = mean, off

    def extractor(self, images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1).astype(np.float32).mean(1, keepdims=True)

    def __call__(self, images: np.ndarray, of: np.ndarray) -> Found:
        good = np.abs(self.extractor(images)[:, 0] - self.mean) > self.off
        n = len(images)
        assert len(of) == n
        return Found(good, np.ones(n), np.ones(n), np.zeros(n, np.int64), np.zeros(n, bool), ~good)


def test_moves_no_farther_than_the_first_accepted_level_and_not_along_what_is_kept(space):  # noqa: F811
    points = space.draw([0, 1])
    start = float(space.images(points[[0]]).mean())
    how = AnonymiseOptions(ways=8, levels=10)
    kept = np.eye(6)[:1]
    moved = move_away(space, points, _Audit(start, 1.0), None, None, kept, how)
    assert moved.accepted[0]
    assert 0 < moved.level[0] < 1
    np.testing.assert_allclose(moved.points.values[:, 0], points.values[:, 0], atol=1e-5)
    never = move_away(space, points, _Audit(start, 1000.0), None, None, kept[:0], how)
    assert not never.accepted.any()
    assert never.refused[0] == {"copy": 81, "own": 0, "class": 0}  # One at the start, 8 ways at 10 levels.
    np.testing.assert_array_equal(never.points.values, points.values)


def test_the_verbs_refuse_what_does_not_fit(trained, noise):  # noqa: F811
    with pytest.raises(InputError, match="--against"):
        anonymise(trained / "gan", trained / "out", seeds=[0])
    with pytest.raises(InputError, match="channel"):
        anonymise(trained / "gan", trained / "out", seeds=[0], against=noise.path)
    with pytest.raises(InputError, match="nowhere does not exist"):
        anonymise(trained / "gan", trained / "out", images=[trained / "stripes"], against=Path("nowhere"))
    assert not (trained / "gan" / "encoders").exists()  # Refused before an encoder is trained.
    with pytest.raises(InputError, match=r"edit\.json"):
        score_edits([trained / "gan", trained / "out"], classifier=trained / "classifier")
    assert not (trained / "out").exists()


def test_images_are_inverted_with_the_encoder_that_is_asked_for(trained):  # noqa: F811
    from plenish.latent.counterfactual_options import ToInvert
    from plenish.latent.edit_options import PointOptions
    from plenish.latent.selection import load_space
    from plenish.latent.starting import start_of

    which = PointOptions(ids=[Dataset.open(trained / "stripes").table["id"][0]])
    space = load_space(trained / "gan", which)  # noqa: F811
    made = start_of(space, [trained / "stripes"], which, ToInvert(inversion_steps=16, encoder=False))
    assert made.about["encoder"] == {}
    assert not (trained / "gan" / "encoders").exists()
    made = start_of(space, [trained / "stripes"], which, ToInvert(inversion_steps=16, encoder_steps=2))
    assert made.about["encoder"]["steps"] == 2
    assert (trained / "gan" / "encoders").is_dir()


def test_flips_are_scored(trained, capsys):  # noqa: F811
    from plenish.commands.edit import flip

    flip(trained / "gan", trained / "flipped", seeds=[0, 1, 2, 3], frames=2)
    made = score_edits(
        [trained / "flipped", trained / "scores"], classifier=trained / "classifier", frames=5,
        judge=[f"class={trained / 'classifier'}"],
    )  # fmt: skip
    assert "no FD and KID of 4 images" in capsys.readouterr().err
    (edit,) = files.read_record(trained / "scores" / "edit-scores.json")["edits"]
    scores = {row["measure"]: row for row in edit["scores"]}
    # At fixed latents, going back by the label ends where it began.
    assert scores["cycle error (mse)"]["value"] == 0
    assert scores["edit (mse)"]["value"] > 0
    assert scores["path length"]["value"] >= 1
    assert scores["class as asked"]["n"] == 4
    assert made.summary()["scores"]
    # Of a flip to one class, images that are of it already are no edits.
    flip(trained / "gan", trained / "to", seeds=[0, 1, 2, 3], to="class1", frames=2)
    pairs = edit_scores.read_pairs(trained / "to")
    assert pairs.before.y.argmax(1).tolist() == [0, 0]
    assert pairs.to == ("class1", "class1")
    flip(trained / "gan", trained / "none", seeds=[1, 3], to="class1", label="class1", frames=2)
    with pytest.raises(InputError, match="no image changes"):
        edit_scores.read_pairs(trained / "none")


def test_a_way_that_stands_still_has_no_smoothness_and_an_even_one_the_least(space):  # noqa: F811
    a, b = space.draw([0, 1]), space.draw([2, 1])
    edit = edit_scores.EditPairs(Path(), space, a, b, ("on", "on"), None)

    def first_pixels(images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1).astype(np.float32)

    found = edit_scores.smoothness(edit, first_pixels, 5)
    direct = np.linalg.norm(first_pixels(space.images(a)) - first_pixels(space.images(b)), axis=1)
    # Linear images: every share of the way is as long, but for rounding to grey levels.
    assert found["path_length"][0] == pytest.approx(1, abs=0.02)
    assert found["ppl"][0] == pytest.approx(direct[0] ** 2, rel=0.05)
    assert all(np.isnan(values[1]) for values in found.values())
