"""The domain extractor: repeatable, cached without pickle, blind to val and test, and worth scoring with."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from plenish import settings
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.datasets.schema import LabelSchema
from plenish.domains import Symmetry
from plenish.errors import InputError
from plenish.metrics import domain, features, fidelity
from plenish.metrics.domain import DomainConfig
from plenish.metrics.features import domain_extractor
from plenish.metrics.validation import validator_of


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    return fidelity.compare(x, y, resamples=0)[0].value


SHORT = DomainConfig(side=32, channels=3, steps=6, batch=16)


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with settings.use(quiet=True, precision="float32"):
        yield


@pytest.fixture
def copy(real: Dataset, tmp_path: Path) -> Dataset:
    shutil.copytree(real.path, tmp_path / "copy", ignore=shutil.ignore_patterns("caches"))
    return Dataset.open(tmp_path / "copy")


def test_features_separate_classes_they_never_saw_and_do_not_depend_on_batches(real: Dataset) -> None:
    extractor = domain_extractor(real)
    train, test = real.part("train", purpose="train"), real.part("test", purpose="score")
    f, g = extractor(train.images()), np.concatenate([extractor(images) for images in test.batches(7)])
    assert f.shape == (300, 96)
    assert f.dtype == np.float32
    probe = LogisticRegression(C=0.03, max_iter=1000).fit(f, train.codes)
    assert probe.score(g, test.codes) > 0.8  # in groups of tints never seen
    assert g == pytest.approx(extractor(test.images()), abs=2e-3)
    assert np.abs(f.mean(0)).max() < 0.02  # centred on train, mean variance 1
    assert f.var(0).mean() == pytest.approx(1.0, rel=0.05)


def test_noise_blur_and_lost_variety_are_seen(real: Dataset) -> None:
    from PIL import Image, ImageFilter

    extractor = domain_extractor(real)
    train = real.part("train", purpose="train")
    x, half = train.images(), np.arange(0, 300, 2)
    reference = extractor(x[1::2][np.random.default_rng(0).permutation(150)])
    blurred = np.stack([np.asarray(Image.fromarray(i).filter(ImageFilter.GaussianBlur(0.8))) for i in x])
    # classes alternate, so both halves must mix them: compare like with like
    order = np.random.default_rng(1).permutation(300)
    a, b = order[:150], order[150:]
    reference = extractor(x[a])
    good = frechet(reference, extractor(x[b]))
    assert frechet(reference, extractor(blurred[b])) > 1.5 * good
    assert frechet(reference, extractor(x[b][np.arange(150) % 10])) > 1.5 * good
    assert frechet(reference, extractor(x[half])) > 1.3 * good  # one class only


def test_same_seed_same_features_other_seed_other_hash_and_cache_is_used(
    copy: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = copy.part("val", purpose="select").images(slice(0, 9))
    one = domain_extractor(copy, config=SHORT)
    held = one(x)
    monkeypatch.setattr(features, "fit_domain_network", None)  # a second fit would fail
    again = domain_extractor(copy, config=SHORT)
    assert np.array_equal(again(x), held)
    assert again.hash == one.hash
    monkeypatch.undo()
    shutil.rmtree(copy.path / "caches")
    assert np.array_equal(domain_extractor(copy, config=SHORT)(x), held)
    other = domain_extractor(copy, seed=1, config=SHORT)
    assert other.hash != one.hash
    kinds = {path.suffix for path in (copy.path / "caches").rglob("*") if path.is_file()}
    assert kinds == {".safetensors", ".json"}


def test_a_damaged_cache_is_made_again(copy: Dataset) -> None:
    x = copy.part("val", purpose="select").images(slice(0, 5))
    held = domain_extractor(copy, config=SHORT)(x)
    (weights,) = (copy.path / "caches").rglob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-3] ^= 0xFF
    weights.write_bytes(content)
    assert np.array_equal(domain_extractor(copy, config=SHORT)(x), held)
    about = weights.with_name("extractor.json")
    about.write_text(json.dumps({"key": 1}))
    assert np.array_equal(domain_extractor(copy, config=SHORT)(x), held)


def test_only_train_decides_the_features(
    copy: Dataset, make_dataset: Callable[..., Dataset], tmp_path: Path, labels: LabelSchema
) -> None:
    part, reads = copy.split().part_of.to_numpy(), copy.test_reads()
    x = copy.pixels.read(np.arange(len(copy)))
    x[part != "train"] = 0
    rows = [
        {"label": label, "group": group, "part": p}
        for label, group, p in zip(copy.table["label"], copy.table["group"], part)
    ]
    blank = make_dataset(tmp_path / "blank", x, rows, labels)
    probe = copy.part("train", purpose="train").images(slice(0, 8))
    assert np.array_equal(
        domain_extractor(blank, config=SHORT)(probe), domain_extractor(copy, config=SHORT)(probe)
    )
    assert copy.test_reads() == reads


@pytest.mark.parametrize(
    "schema",
    [LabelSchema(), LabelSchema("multilabel", ("a", "b")), LabelSchema("continuous", ("x", "y"))],
    ids=lambda schema: schema.kind,
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_label_kind_and_channel_count(
    schema: LabelSchema, channels: int, make_discs: Any, make_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    x, _ = make_discs(24, 3, channels=channels)
    value: dict[str, Any] = {"none": None, "multilabel": ["a"], "continuous": [0.5, 300.0]}
    rows = [{"label": value[schema.kind], "part": "train"} for _ in range(24)]
    data = make_dataset(tmp_path / "data", x, rows, schema)
    config = DomainConfig(side=16, channels=channels, steps=3, batch=8)
    extractor = domain_extractor(data, config=config)
    assert np.isfinite(extractor(x)).all()
    assert ("labels" in extractor.task or "tags" in extractor.task) == (schema.kind != "none")
    assert "self-supervised" in extractor.task
    larger = np.repeat(np.repeat(x, 3, axis=1), 3, axis=2)  # another size is brought to the network's own
    assert extractor(larger).shape == (24, 96)
    with pytest.raises(ValueError, match="images"):
        extractor(x[..., :0])


def test_without_labels_it_still_learns_to_tell_images_apart(
    real: Dataset, make_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    train = real.part("train", purpose="train")
    data = make_dataset(
        tmp_path / "plain", train.images(), [{"label": None, "part": "train"}] * 300, LabelSchema()
    )
    extractor = domain_extractor(data, config=DomainConfig(side=32, steps=60))
    late = extractor(train.images())
    fresh = domain_extractor(data, config=DomainConfig(side=32, steps=1))
    assert extractor.hash != fresh.hash
    codes, fit, test = train.codes, np.arange(0, 200), np.arange(200, 300)
    assert LogisticRegression(max_iter=1000).fit(late[fit], codes[fit]).score(late[test], codes[test]) > 0.85


def test_refusals_name_the_mend(real: Dataset, make_discs: Any, make_dataset: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="inception"):
        features.get_extractor("inceptoin", real)
    with pytest.raises(InputError, match="--weights"):
        features.get_extractor("domain", real, weights=Path("x.pth"))
    x, _ = make_discs(4, 0)
    tiny = make_dataset(tmp_path / "tiny", x, [{"label": None, "part": "train"}] * 4, LabelSchema())
    with pytest.raises(InputError, match="16"):
        domain_extractor(tiny)


def test_nt_xent_by_hand_and_augmentation_keeps_a_flat_picture_flat() -> None:
    # Two images, views equal, images opposite: the partner has similarity 1/T, the two others −1/T
    p = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    t = domain._TEMPERATURE
    want = -np.log(np.exp(1 / t) / (np.exp(1 / t) + 2 * np.exp(-1 / t)))
    assert domain.nt_xent(p).item() == pytest.approx(want, rel=1e-9)
    draws = torch.Generator().manual_seed(0)
    flat = torch.full((5, 3, 16, 16), 0.3)
    out = domain.augmented(flat, draws)
    assert out.std(dim=(1, 2, 3)).max() < 1e-5
    assert out.mean(dim=(1, 2, 3)).std() > 1e-3


@pytest.mark.parametrize(
    ("symmetry", "views"), [("none", {0}), ("mirror", {0, 1}), ("dihedral", {0, 1, 2, 3})]
)
def test_views_are_flipped_as_far_as_the_symmetry_allows(symmetry: Symmetry, views: set[int]) -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
    out = domain.augmented((x + 3 * y).expand(64, 1, 16, 16) / 4, torch.Generator().manual_seed(0), symmetry)
    # The signs of both slopes say which flips were made.
    mirrored, upside_down = out.diff(dim=3).mean((1, 2, 3)) < 0, out.diff(dim=2).mean((1, 2, 3)) < 0
    assert set((mirrored + 2 * upside_down.int()).tolist()) == views


def test_features_tell_left_from_right_where_the_domain_does(
    make_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    """Stripes that rise or fall: classes that mirror each other are apart where no image is mirrored."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    rises = np.arange(64) % 2 == 0
    waves = [np.sin((x + (1 - 2 * up) * y) / rng.uniform(1, 3) + rng.uniform(0, 6)) for up in rises]
    pixels = (128 + 80 * np.stack(waves)[..., None].repeat(3, 3)).astype(np.uint8)
    rows = [{"label": "ab"[int(up)], "part": "train"} for up in rises]
    hashes, apart = [], {}
    for name in (None, "histology", "natural", "radiology"):
        extra = {"domain": name} if name else {}
        data = make_dataset(
            tmp_path / str(name), pixels, rows, LabelSchema("categorical", ("a", "b")), **extra
        )
        hashes.append(domain_extractor(data, config=SHORT).hash)
        if name not in ("natural", "radiology"):
            continue
        extractor = domain_extractor(data, config=DomainConfig(side=32, steps=60))
        up, down = (extractor(pixels[rises == side]) for side in (True, False))
        within = np.sqrt(up.var(0).sum() + down.var(0).sum())
        apart[name] = np.linalg.norm(up.mean(0) - down.mean(0)) / within
    assert hashes[0] == hashes[1]  # As before there were domains.
    assert len(set(hashes)) == 3
    assert apart["radiology"] > 1.4 * apart["natural"]


def test_validation_kid_prefers_the_real_thing(real: Dataset, make_discs: Any) -> None:
    reads = real.test_reads()
    score = validator_of(real)
    assert score is not None
    fresh, _ = make_discs(120, 8)
    noisy = np.clip(fresh + np.random.default_rng(0).normal(0, 40, fresh.shape), 0, 255).astype(np.uint8)
    assert score(fresh, None)["kid_val"] < score(noisy, None)["kid_val"]
    assert score(fresh, None) == score(fresh, None)
    assert score(fresh, None)["copying"] == 0
    assert real.test_reads() == reads


def test_validation_kid_sees_classes_that_were_mixed_up(real: Dataset) -> None:
    """The same pictures: only what was asked for differs."""
    score = validator_of(real)
    assert score is not None
    val = real.part("val", purpose="select")
    images, y = val.images(np.arange(len(val))), val.y()
    assert score(images, None)["kid_val"] < 0.1
    assert score(images, y)["kid_val"] < 0.1
    assert score(images, y[:, ::-1])["kid_val"] > 0.5
    assert score(images[:5], y[:5]) == score(images[:5], None)


def test_validation_finds_copies(real: Dataset, make_discs: Any) -> None:
    score = validator_of(real)
    assert score is not None
    train = real.part("train", purpose="select")
    fresh, _ = make_discs(60, 8)
    copied = score(np.concatenate([fresh, train.images(np.arange(20))[:, :, ::-1]]), None)
    assert copied["copying"] == 1
    assert copied["copies"] >= 20 / 80


def test_features_of_real_images_are_computed_once_and_a_damaged_cache_again(
    real: Dataset, as_synthetic: Any, make_discs: Any
) -> None:
    extractor = features.domain_extractor(real)
    part = real.part("val", purpose="score").where(np.arange(20))
    assert features.kept_features(part, extractor) is None
    values = extractor(part.images())
    assert features.keep_features(part, extractor, values) is values
    kept = features.kept_features(part, extractor)
    assert kept is not None
    assert np.array_equal(kept, values)
    assert features.kept_features(part.where(np.arange(10)), extractor) is None
    other = dataclasses.replace(extractor, hash="0" * 64)
    assert features.kept_features(part, other) is None
    for file in real.path.glob("caches/features-*/features.npy"):
        file.write_bytes(file.read_bytes()[:-8] + b"\0" * 8)
    assert features.kept_features(part, extractor) is None
    made = as_synthetic(*make_discs(4, 60))
    rows = Subset(made, np.arange(4), "train", "all", "")
    features.keep_features(rows, extractor, values[:4])
    assert features.kept_features(rows, extractor) is None
    assert not list(made.path.glob("caches/features-*"))
