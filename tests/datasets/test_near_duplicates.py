"""Copies under other ids are found, kept in one part and reported; different images are not joined."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from plenish import parallel
from plenish.commands.datasets import make_phantom
from plenish.commands.profile import profile_dataset
from plenish.datasets import near_duplicates, perceptual_hash
from plenish.datasets.dataset import Dataset
from plenish.datasets.near_duplicates import _pairs, clusters, image_hashes, same_as
from plenish.datasets.perceptual_hash import candidates, hashes, same_picture
from plenish.datasets.schema import LabelSchema
from plenish.datasets.split import split_dataset
from plenish.datasets.writer import DatasetWriter
from plenish.metrics.origin import near_held_out
from plenish.worker_process import WorkerProcess

Images = np.ndarray[Any, np.dtype[np.uint8]]


def pictures(n: int, size: int = 32, channels: int = 3, seed: int = 0) -> Images:
    """Different smooth pictures: random 8×8 colours, enlarged, with some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 230, (n, 8, 8, channels), np.uint8)
    shape = (size, size)
    out = [
        np.stack([np.asarray(Image.fromarray(c[..., k]).resize(shape, 3)) for k in range(channels)], -1)
        for c in coarse
    ]
    noise = rng.integers(-4, 5, (n, size, size, channels))
    return np.clip(np.stack(out).astype(int) + noise, 0, 255).astype(np.uint8)


def _one_bit(images: Images) -> Images:
    changed = images.copy()
    changed[:, 3, 4, 0] ^= 1
    return changed


def _jpeg(images: Images) -> Images:
    out = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image.squeeze()).save(file, "JPEG", quality=80)
        out.append(np.asarray(Image.open(file)).reshape(image.shape))
    return np.stack(out)


def _brighter(levels: int) -> Callable[[Images], Images]:
    return lambda images: np.clip(images.astype(int) + levels, 0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Images], Images]] = {
    "one bit": _one_bit,
    **{f"brighter by {k}": _brighter(k) for k in range(1, 7)},
    "darker by 6": _brighter(-6),
    "mirrored": lambda x: x[:, :, ::-1],
    "upside down": lambda x: x[:, ::-1],
    "quarter turn": lambda x: np.rot90(x, 1, axes=(1, 2)),
    "three quarters": lambda x: np.rot90(x, 3, axes=(1, 2)),
    "transposed and brighter": lambda x: _brighter(5)(x.transpose(0, 2, 1, 3)),
    "JPEG": _jpeg,
}


def write(
    path: Path, images: Images, groups: list[str | None], parts: list[str] | None = None, **extra: Any
) -> Dataset:
    n, size, _, channels = images.shape
    labels = LabelSchema("categorical", ("a", "b"))
    rows: list[dict[str, Any]] = [{"label": "ab"[i // 2 % 2], "group": groups[i]} for i in range(n)]
    if parts is not None:
        rows = [row | {"part": part} for row, part in zip(rows, parts)]
    writer = DatasetWriter(
        path, name=path.name, size=size, channels=channels, labels=labels, config={}, extra=extra
    )
    with writer:
        writer.add(np.ascontiguousarray(images), rows)
    return writer.dataset


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_the_same_picture_and_others_are_not(change: str, channels: int) -> None:
    images = pictures(40, channels=channels)
    changed = np.ascontiguousarray(CHANGES[change](images))
    pairs = set(zip(*map(np.ndarray.tolist, candidates(hashes(images), hashes(changed)))))
    assert {(i, i) for i in range(40)} <= pairs
    assert same_picture(images, changed).all()
    assert not same_picture(images, np.roll(changed, 1, axis=0)).any()


@pytest.mark.parametrize("size", [16, 17, 28, 33, 64])
def test_the_hash_is_the_same_in_all_eight_orientations(size: int) -> None:
    images = pictures(5, size, channels=1)
    known = hashes(images)
    assert np.linalg.norm(known[:, : perceptual_hash.COARSE], axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    for k in range(4):
        turned = np.rot90(images, k, axes=(1, 2))
        for view in (turned, turned[:, :, ::-1]):
            assert hashes(np.ascontiguousarray(view)) == pytest.approx(known, abs=1e-4)


def test_the_cosine_transform_is_that_of_scipy() -> None:
    from scipy.fft import dctn

    image = pictures(1, 32, channels=1)
    c = np.abs(dctn(image[0, :, :, 0].astype(float), norm="ortho"))[:8, :8]
    c *= np.hypot(*np.mgrid[:8, :8])
    expected = [np.hypot(c[u, v], c[v, u]) for u in range(8) for v in range(u + 1, 8)]
    expected = np.array(expected + [c[u, u] for u in range(1, 8)])
    found = hashes(image)[0, : perceptual_hash.COARSE]
    assert np.sort(found) == pytest.approx(np.sort(expected / np.linalg.norm(expected)), abs=1e-5)


@pytest.mark.parametrize("kind", ["blank", "lit from one side", "lines", "one template"])
def test_images_with_little_on_them_are_not_all_alike(kind: str) -> None:
    rng = np.random.default_rng(0)
    n, size = 200, 48
    y, x = np.mgrid[:size, :size] / size - 0.5
    field = {
        "blank": 240.0 + 0 * x, "lit from one side": 200 + 60 * x - 90 * (x**2 + y**2),
        "lines": 255.0 + 0 * x, "one template": 40 + 160 * np.exp(-((np.abs(x) - 0.2) ** 2 + y**2 / 2) * 20),
    }[kind]  # fmt: skip
    images = field + rng.normal(0, 2, (n, size, size))
    if kind == "lines":
        for image in images:
            i, j = rng.integers(4, size - 4, 2)
            image[i], image[:, j] = 0, 0
    if kind == "one template":
        images += np.kron(rng.normal(0, 6, (n, 12, 12)), np.ones((4, 4)))
    pixels = np.clip(images, 0, 255).astype(np.uint8)[..., None]
    if kind == "lines":
        pixels = np.unique(pixels, axis=0)
    i, j = candidates(hashes(pixels), hashes(pixels))
    i, j = i[i < j], j[i < j]
    assert len(i) < n
    joined = same_picture(pixels[i], pixels[j])
    if kind == "lines":  # Two lines are the same picture, turned, if they are where other two are.
        place = [(min(r, size - 1 - r) + min(c, size - 1 - c)) for r, c in map(_cross, pixels)]
        assert all(place[a] == place[b] for a, b in zip(i[joined], j[joined]))
    else:
        assert not joined.any()


def _cross(image: Images) -> tuple[int, int]:
    return int(image[:, :, 0].mean(axis=1).argmin()), int(image[:, :, 0].mean(axis=0).argmin())


def test_clusters_hold_copies_of_copies_and_equal_pixels(tmp_path: Path) -> None:
    images = pictures(30)
    chain = [images[:1], _one_bit(images[:1]), images[:1, :, ::-1], images[:1], _brighter(4)(images[1:2])]
    data = write(tmp_path / "d", np.concatenate([images, *chain]), [f"g{i}" for i in range(35)])
    found = clusters(data)
    assert np.flatnonzero(found == found[0]).tolist() == [0, 30, 31, 32, 33]
    assert np.flatnonzero(found == found[1]).tolist() == [1, 34]
    assert len(np.unique(found)) == 30


def test_very_many_copies_of_one_picture_are_one_cluster(tmp_path: Path) -> None:
    """More than an image is compared with; two tight sets of copies and a distant one among them."""
    rng = np.random.default_rng(4)
    first, second = pictures(2)
    noisy = [np.clip(first + rng.normal(0, 1, (150, *first.shape)), 0, 255),
             np.clip(first[::-1] + rng.normal(0, 1, (150, *first.shape)) + 6, 0, 255)]  # fmt: skip
    images = np.concatenate([*noisy, second[None], first[None, ::-1] + 1]).round().astype(np.uint8)
    found = clusters(write(tmp_path / "d", images, [None] * len(images)))
    assert len(np.unique(found)) == 2
    assert (found != found[0]).nonzero()[0].tolist() == [300]


def test_blocks_and_workers_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(60)
    images = np.concatenate([images, images[:20, ::-1], _brighter(3)(images[10:30])])
    one = write(tmp_path / "one", images, [None] * 100)
    whole, vectors = clusters(one), image_hashes(one)
    other = write(tmp_path / "other", images, [None] * 100)
    monkeypatch.setattr(near_duplicates, "_ROWS", 7)
    monkeypatch.setattr(near_duplicates, "_IMAGES", 3)
    monkeypatch.setattr(near_duplicates, "_ALONE", 0)
    monkeypatch.setattr(near_duplicates, "shard_length", lambda *_: 30)
    monkeypatch.setattr(parallel, "available_cores", lambda: 2)
    started: list[WorkerProcess] = []

    class Counted(WorkerProcess):
        def __init__(self) -> None:
            super().__init__()
            started.append(self)

    monkeypatch.setattr(parallel, "WorkerProcess", Counted)
    # Matrix products of blocks of another size may round otherwise.
    np.testing.assert_allclose(image_hashes(other), vectors, atol=1e-5)
    assert len(started) == 2
    together = clusters(other)
    assert ((together[:, None] == together) == (whole[:, None] == whole)).all()
    assert len(np.unique(together)) == 60


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    images = pictures(6)
    data = write(tmp_path / "d", np.concatenate([images, images[:, ::-1]]), [None] * 12)
    known = clusters(data)
    kept = sorted((data.path / "caches" / "near-duplicates").iterdir())
    assert len(kept) == 2
    for path in kept:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert (clusters(Dataset.open(data.path)) == known).all()
    for path in kept:
        path.write_bytes(b"no archive")
    assert (clusters(Dataset.open(data.path)) == known).all()


def test_small_images_are_joined_by_equal_pixels_only(tmp_path: Path) -> None:
    images = pictures(8, size=12)
    data = write(tmp_path / "d", np.concatenate([images, _one_bit(images), images[:2]]), [None] * 18)
    assert len(np.unique(clusters(data))) == 16


def test_planted_copies_do_not_straddle(tmp_path: Path) -> None:
    images = pictures(120, seed=5)
    copies = [np.ascontiguousarray(f(images[5 * k : 5 * k + 5])) for k, f in enumerate(CHANGES.values())]
    count = 5 * len(copies)
    groups = [f"p{i}" for i in range(120 + count)]
    data = write(tmp_path / "d", np.concatenate([images, *copies]), list(groups))
    joined, warned, ignored = (
        split_dataset(data.path, name=mode, near_duplicates=mode)  # type: ignore[arg-type]
        for mode in ("join", "warn", "ignore")
    )
    straddling = {}
    for split in ("join", "warn", "ignore"):
        part = data.split(split).part_of.to_numpy()
        straddling[split] = int((part[:count] != part[120:]).sum())
    assert straddling["join"] == 0
    assert straddling["warn"] == straddling["ignore"] > 10
    (caveat,), (warning,) = joined.caveats, warned.caveats
    assert (caveat.code, dict(caveat.values)) == (
        "near-duplicates",
        {"sets": count, "images": 2 * count, "grouped": True, "joined": True},
    )
    assert warning.values["joined"] is False
    assert not ignored.caveats
    assert joined.units == 120
    assert all(str(each) for each in (caveat, warning))


def test_a_split_without_copies_is_that_of_units_alone(tmp_path: Path) -> None:
    data = write(tmp_path / "d", pictures(60), [f"g{i // 2}" for i in range(60)])
    for mode in ("join", "ignore"):
        split_dataset(data.path, name=mode, near_duplicates=mode)  # type: ignore[arg-type]
    assert data.split("join").part_of.tolist() == data.split("ignore").part_of.tolist()


@pytest.mark.parametrize("size", [pytest.param(16, marks=pytest.mark.slow), 32])
def test_no_two_images_of_a_phantom_are_joined(tmp_path: Path, size: int) -> None:
    make_phantom(tmp_path / "p", patients=40, tiles=5, size=size, seed=2)
    assert len(np.unique(clusters(Dataset.open(tmp_path / "p")))) == 200


def test_flat_images_alone_have_no_near_duplicates() -> None:
    assert [len(pairs) for pairs in _pairs(np.zeros((3, 135), np.float32))] == []


def test_profile_tells_of_near_duplicates_across_parts(tmp_path: Path) -> None:
    images = pictures(20)
    parts = ["train"] * 14 + ["val"] * 3 + ["test"] * 3 + ["test", "train", "train"]
    images = np.concatenate([images, _one_bit(images[:1]), images[1:2, ::-1], images[2:3, :, ::-1]])
    data = write(tmp_path / "d", images, [f"g{i}" for i in range(23)], parts)
    found = profile_dataset(data.path, tmp_path / "out").content
    near = found["near_duplicates"]
    assert [near[key] for key in ("sets", "images", "sets_across_parts", "sets_across_groups")] == [
        3,
        6,
        1,
        3,
    ]
    assert near["examples"][0]["parts"] == ["test", "train"]
    assert near["examples"][0]["ids"] == [data.column("id")[i] for i in (0, 20)]
    assert not found["problems"]
    assert "near-duplicates" in (tmp_path / "out" / "profile.html").read_text()


@pytest.mark.parametrize("change", ["one bit", "brighter by 1", "brighter by 6", "mirrored", "quarter turn"])
def test_synthetic_copies_of_test_images_get_a_caveat(tmp_path: Path, change: str) -> None:
    images = pictures(40)
    parts = ["train"] * 28 + ["val"] * 6 + ["test"] * 6
    real = write(tmp_path / "real", images, [f"g{i}" for i in range(40)], parts)
    made = np.concatenate([pictures(20, seed=9), CHANGES[change](images[34:37]), images[:5, ::-1]])
    synthetic = write(tmp_path / "made", made, [None] * 28, generator={"run": "x"})
    found = same_as(synthetic, np.arange(28), real, np.arange(40))
    assert found.tolist() == [-1] * 20 + [34, 35, 36] + [0, 1, 2, 3, 4]
    (caveat,) = near_held_out(real, "default", synthetic)
    assert (caveat.code, caveat.values) == ("near-held-out", {"images": 3, "part": "test"})
    assert str(caveat)


def test_groups_with_similar_names_are_named_or_joined(tmp_path: Path) -> None:
    names = ["P01 ", "p01", "P1", "007", "07", "7", "x", "y", "z", "Q_2", "q 2", "u", "v", "w", "t", "s"]
    groups = [name for name in names for _ in range(2)]
    data = write(tmp_path / "d", pictures(32), list(groups))
    (caveat,) = split_dataset(data.path).caveats
    assert caveat.code == "alike-groups"
    assert caveat.values["sets"] == [["P01 ", "p01", "P1"], ["007", "07", "7"], ["Q_2", "q 2"]]
    assert not caveat.values["joined"]
    result = split_dataset(data.path, name="joined", alike_groups="join")
    part = dict(zip(groups, data.split("joined").part_of))
    for same in (["P01 ", "p01", "P1"], ["007", "07", "7"], ["Q_2", "q 2"]):
        assert len({part[name] for name in same}) == 1
    assert result.units == 11
    alike = profile_dataset(data.path, tmp_path / "out", split="joined").content["alike_groups"]
    assert (alike["sets"], alike["sets_across_parts"]) == (3, 0)
    assert str(caveat)
    assert str(result.caveats[0])


def test_blocks_of_neighbours_miss_no_pair(tmp_path: Path) -> None:
    """Pictures along two continuous directions, in several blocks, beside a comparison of all pairs."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:16, 0:16] / 16
    a, b = rng.uniform(0.5, 6, (2, 1300, 1, 1))
    pixels = 128 + 60 * np.sin(a * 2 * x + b * y) + 60 * np.cos(b * 2 * x * y + a)
    pixels = np.rint(pixels).astype(np.uint8)[..., None]
    with DatasetWriter(
        tmp_path / "d", name="d", size=16, channels=1, labels=LabelSchema(), config={}
    ) as writer:
        writer.add(pixels, [{} for _ in pixels])
    vectors = hashes(pixels)
    i, j = candidates(vectors, vectors)
    same = same_picture(pixels[i], pixels[j])
    graph = coo_matrix((np.ones(same.sum()), (i[same], j[same])), shape=(1300, 1300))
    expected = connected_components(graph, directed=False)[1]
    found = clusters(writer.dataset)
    pairs = set(zip(expected.tolist(), found.tolist()))
    assert len(pairs) == len(set(expected.tolist())) == len(set(found.tolist()))
    assert len(pairs) < 1250, "some pictures must be found alike"
