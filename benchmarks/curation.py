"""What `plenish curate` finds of what was planted, beside imagededup and cleanvision.

    python -m benchmarks.curation --work DIR [--data DIR] [--oracles DIR] [--out FILE.json] [--only NAME …]

Corpora are drawn (line art, pages of a comic in grey, paintings) or read from the folders below --data
(HAM10000, one image a lesion; Tuxemon sprites; Dungeon Crawl tiles; Noto emoji). Into each, copies of images
are planted as files (the same file, half the size, JPEG of quality 40 to 75, mirrored, turned, cropped to 0.9
of the side at any place), or faults (bands, blur, darkness, brightness, low contrast, grey), or other labels.
They are imported at 64 px and curated with default thresholds. --oracles is a folder in which imagededup and
cleanvision are installed (pip install --target); both see the same files, by a process of their own.

Sets with near-duplicates of their own (tiles, emoji) are first emptied of all images that any of the tools
joins with another one. A pair counts as right if both images come from one original. `--quick` takes few.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from plenish import settings
from plenish.commands.curate import all_steps
from plenish.datasets.curation import plan, take
from plenish.datasets.curation_steps import Corpus
from plenish.datasets.dataset import Dataset
from plenish.datasets.importing import import_dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter

Rng = np.random.Generator
Picture = Image.Image
SIDE, SIZE, SEED = 192, 64, 20261129
FOLDERS = {
    "ham10000": "images/*/*.jpg", "tuxemon_sprites": "**/*.png", "crawl_tiles_cc0": "*/*.png",
    "noto_emoji_characters": "*/*.png",
}  # fmt: skip
ORACLE = """
import json, sys
from pathlib import Path
folder, out, *faults = sys.argv[1:]
found = {}
if not faults:
    from imagededup.methods import PHash
    hasher = PHash(verbose=False)
    codes = hasher.encode_images(image_dir=folder, num_enc_workers=0)
for most in () if faults else (0, 2, 4, 6, 8, 10, 12):
    pairs = hasher.find_duplicates(encoding_map=codes, max_distance_threshold=most, num_dist_workers=0)
    found[f"imagededup PHash {most}"] = [[a, b] for a, many in pairs.items() for b in many if a < b]
from cleanvision import Imagelab
lab = Imagelab(data_path=folder)
lab.find_issues({name: {} for name in faults} or None, n_jobs=1)
for kind in ("exact_duplicates", "near_duplicates"):
    sets = lab.info.get(kind, {}).get("sets", [])
    found[f"cleanvision {kind}"] = [[Path(one[0]).name, Path(b).name] for one in sets for b in one[1:]]
issues = lab.issues
found["issues"] = {
    name[3:-6]: [Path(p).name for p in issues.index[issues[name]]]
    for name in issues.columns if name.startswith("is_")
}
json.dump(found, open(out, "w"))
"""


# Pictures


def line_art(rng: Rng) -> Picture:
    """A figure of thin strokes on white, grey."""
    picture = Image.new("L", (SIDE, SIDE), 255)
    draw, centre = ImageDraw.Draw(picture), rng.uniform(0.35, 0.65, 2) * SIDE
    for _ in range(int(rng.integers(5, 12))):
        wide, kind = int(rng.integers(1, 4)), rng.integers(3)
        points = centre + rng.normal(0, SIDE * 0.18, (int(rng.integers(3, 7)), 2))
        if kind == 0:
            draw.line([tuple(p) for p in points], fill=int(rng.integers(0, 60)), width=wide)
            continue
        radii = rng.uniform(0.04, 0.25, 2) * SIDE
        start = rng.uniform(0, 360)
        end = start + (360 if kind == 1 else rng.uniform(60, 250))
        draw.arc([*(points[0] - radii), *(points[0] + radii)], start, end, fill=0, width=wide)
    return picture


def page(rng: Rng) -> Picture:
    """A page of panels with tones and blobs, grey."""
    picture = Image.new("L", (SIDE, SIDE), 255)
    draw = ImageDraw.Draw(picture)
    rows = np.linspace(4, SIDE - 4, int(rng.integers(3, 6)))
    for top, bottom in itertools.pairwise(rows):
        inner = rng.uniform(0.25, 0.75, int(rng.integers(0, 3))) * SIDE
        columns = np.sort(np.concatenate([[4], inner, [SIDE - 4]]))
        for left, right in itertools.pairwise(columns):
            if right - left < 14:
                continue
            tone = int(rng.choice([255, 255, 200, 120, 30]))
            draw.rectangle([left + 2, top + 2, right - 2, bottom - 2], fill=tone, outline=0, width=2)
            for _ in range(int(rng.integers(1, 4))):
                middle = np.array([rng.uniform(left, right), rng.uniform(top, bottom)])
                radii = rng.uniform(0.1, 0.35, 2) * min(right - left, bottom - top)
                low, high = np.maximum(middle - radii, (left + 2, top + 2)), middle + radii
                high = np.minimum(high, (right - 2, bottom - 2))
                if (high > low + 1).all():
                    fill = int(rng.choice([255, 180, 90, 10]))
                    draw.ellipse([*low, *high], outline=0, fill=fill, width=2)
    return picture


def painting(rng: Rng) -> Picture:
    """Clouds of colour at several scales, with grain."""
    x = np.zeros((SIDE, SIDE, 3))
    for k in (2, 4, 8, 16, 32, 64):
        small = (rng.normal(0, 1, (k, k, 3)) * k**-0.6).astype(np.float32)
        for c in range(3):
            x[..., c] += np.asarray(
                Image.fromarray(small[..., c]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            )
    x = 128 + 60 * x / x.std() + rng.normal(0, 3, x.shape)
    return Image.fromarray(np.clip(x, 0, 255).astype(np.uint8))


DRAWN: dict[str, Callable[[Rng], Picture]] = {"line art": line_art, "pages": page, "paintings": painting}


def opened(path: Path) -> Picture:
    """A picture file, square, without transparency."""
    picture = Image.open(path)
    if picture.mode in ("RGBA", "LA", "P"):
        over = picture.convert("RGBA")
        picture = Image.new("RGBA", over.size, "white")
        picture.alpha_composite(over)
    picture = picture.convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def originals(name: str, data: Path | None, count: int, rng: Rng) -> list[Picture]:
    """Pictures of a corpus."""
    if name in DRAWN:
        return [DRAWN[name](rng) for _ in range(count)]
    assert data is not None
    files = sorted((data / name).glob(FOLDERS[name]))
    if name == "ham10000":  # One image a lesion: two of one are near-duplicates, or nearly.
        rows = [line.split(",") for line in (data / name / "subset.csv").read_text().splitlines()[1:]]
        first: dict[str, Path] = {}
        for row in rows:
            first.setdefault(row[1], data / name / row[0])
        files = sorted(first.values())
    return [opened(files[i]) for i in rng.permutation(len(files))[:count]]


# Near-duplicates


def jpeg(picture: Picture, quality: int) -> Picture:
    """The picture after compression."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert(picture.mode)


def cropped(picture: Picture, rng: Rng) -> Picture:
    """A window of 0.9 of the side at any place."""
    side = round(0.9 * picture.width)
    left, top = (int(k) for k in rng.integers(0, picture.width - side + 1, 2))
    return picture.crop((left, top, left + side, top + side))


_WAYS = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM)
_TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
COPIES: dict[str, Callable[[Picture, Rng], Picture]] = {
    "exact": lambda p, _: p,
    "resized": lambda p, _: p.resize((max(16, p.width // 2),) * 2, Image.Resampling.LANCZOS),
    "recompressed": lambda p, rng: jpeg(p, int(rng.integers(40, 76))),
    "flipped": lambda p, rng: p.transpose(_WAYS[rng.integers(2)]),
    "turned": lambda p, rng: p.transpose(_TURNS[rng.integers(3)]),
    "cropped": cropped,
    "cropped and recompressed": lambda p, rng: jpeg(cropped(p, rng), 75),
}


def saved(pictures: Sequence[tuple[str, Picture]], folder: Path) -> Path:
    """The pictures as PNG files; those of an earlier try are taken."""
    if folder.exists():
        return folder
    folder.mkdir(parents=True)
    for name, picture in pictures:
        picture.save(folder / f"{name}.png")
    return folder


def imported(folder: Path) -> Dataset:
    """The Dataset of a folder of files."""
    out = folder.with_name(folder.name + "-data")
    if out.exists():
        return Dataset.open(out)
    return import_dataset(folder, out, SIZE, workers=1).dataset


def names_of(dataset: Dataset) -> list[str]:
    """The file of each row."""
    return [Path(one).stem for one in dataset.column("source")]


def joined(dataset: Dataset) -> list[tuple[str, str]]:
    """Pairs of files that the duplicate steps join."""
    corpus, names = Corpus(dataset, keep_clusters=True), names_of(dataset)
    _, (taken,) = take(corpus, plan([], ["near-duplicates"]))
    sets: dict[int, list[str]] = {}
    for row, cluster in (taken.clusters or {}).items():
        sets.setdefault(cluster, []).append(names[row])
    return [(one[0], other) for one in sets.values() for other in one[1:]]


def oracle(folder: Path, packages: Path, *faults: str) -> dict[str, Any]:
    """What imagededup and cleanvision find in a folder, by file name without suffix; or some issues alone."""
    out = folder.with_suffix(".json")
    if not out.exists():
        environment = os.environ | {"PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-c", ORACLE, str(folder), str(out), *faults]
        subprocess.run(
            words, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    found = json.loads(out.read_text())
    issues = {name: {Path(f).stem for f in many} for name, many in found.pop("issues").items()}
    pairs = {name: [(Path(a).stem, Path(b).stem) for a, b in many] for name, many in found.items()}
    return pairs | {"issues": issues}


def components(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The cluster of each file."""
    of = {name: i for i, name in enumerate(names)}
    up = list(range(len(names)))

    def root(i: int) -> int:
        while up[i] != i:
            up[i] = up[up[i]]
            i = up[i]
        return i

    for a, b in pairs:
        up[root(of[a])] = root(of[b])
    return {name: root(i) for name, i in of.items()}


def copies_found(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Recall of each kind of copy, and precision of the pairs within clusters."""
    cluster = components(names, pairs)
    planted = [name for name in names if "-" in name]
    by: dict[str, list[bool]] = {}
    for name in planted:
        origin, kind = name.split("-", 1)
        by.setdefault(kind, []).append(cluster[name] == cluster[origin])
    members: dict[int, list[str]] = {}
    for name, one in cluster.items():
        members.setdefault(one, []).append(name)
    right = total = 0
    for many in members.values():
        origins = [name.split("-")[0] for name in many]
        total += len(many) * (len(many) - 1) // 2
        right += sum(n * (n - 1) // 2 for n in (origins.count(o) for o in set(origins)))
    hits = [hit for many in by.values() for hit in many]
    return {
        "recall": round(float(np.mean(hits)), 4), "precision": round(right / total, 4) if total else None,
        "planted": len(hits), "by": {kind: round(float(np.mean(many)), 4) for kind, many in by.items()},
    }  # fmt: skip


def near_duplicates(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Planted copies in one corpus."""
    rng = np.random.default_rng([SEED, len(name)])
    pictures = originals(name, asked.data, asked.count, rng)
    work = asked.work / f"copies-{name.replace(' ', '-')}"
    emptied = 0
    if name in ("crawl_tiles_cc0", "noto_emoji_characters"):
        folder = saved([(f"{i:05d}", p) for i, p in enumerate(pictures)], work / "bare")
        pairs = list(joined(imported(folder)))
        if asked.oracles:
            found = oracle(folder, asked.oracles)
            pairs += [pair for key in found if key != "issues" and "12" not in key for pair in found[key]]
        own = {one for pair in pairs for one in pair}
        emptied = len(own)
        pictures = [p for i, p in enumerate(pictures) if f"{i:05d}" not in own]
    planted = [(f"{i:05d}", p) for i, p in enumerate(pictures)]
    each = min(60, len(pictures) // len(COPIES))
    chosen = rng.permutation(len(pictures))[: each * len(COPIES)]
    for k, (kind, change) in enumerate(COPIES.items()):
        for i in chosen[k * each : (k + 1) * each]:
            planted.append((f"{i:05d}-{kind}", change(pictures[i], rng)))
    folder = saved(planted, work / "planted")
    names = [name for name, _ in planted]
    result = {"images": len(names), "emptied": emptied}
    result["plenish"] = copies_found(names, joined(imported(folder)))
    if asked.oracles:
        found = oracle(folder, asked.oracles)
        exact = found["cleanvision exact_duplicates"]
        found["cleanvision"] = [*exact, *found.pop("cleanvision near_duplicates")]
        for key, pairs in found.items():
            if key not in ("issues", "cleanvision exact_duplicates"):
                result[key] = copies_found(names, pairs)
    return result


# Faults


def banded(kind: str, picture: Picture, rng: Rng) -> Picture:
    """Bands of black, grey or white over a part of the picture."""
    out, width, height = picture.convert("RGB").copy(), picture.width, picture.height
    x = np.asarray(out, float)
    border = np.median(np.concatenate([x[0], x[-1], x[:, 0], x[:, -1]]), axis=0)
    # A band in the colour of the picture's own background is none.
    seen = [level for level in (0, 128, 255) if np.abs(border - level).max() > 48]
    colour = tuple([int(rng.choice(seen))] * 3)
    draw = ImageDraw.Draw(out)
    for sides in {"horizontal": "tb", "vertical": "lr", "frame": "tblr"}[kind]:
        wide = round(rng.uniform(0.06, 0.2) * width)
        box = {
            "t": (0, 0, width, wide), "b": (0, height - wide, width, height), "l": (0, 0, wide, height),
            "r": (width - wide, 0, width, height),
        }[sides]  # fmt: skip
        draw.rectangle(box, fill=colour)
    return out


def faded(picture: Picture, low: float, high: float) -> Picture:
    """Levels 0 to 255 brought between two others."""
    x = np.asarray(picture.convert("RGB"), np.float32)
    return Image.fromarray(np.clip(low + x * (high - low) / 255, 0, 255).astype(np.uint8))


FAULTS: dict[str, tuple[str, str, Callable[[Picture, Rng], Picture]]] = {
    "bands horizontal": ("bands:horizontal", "", lambda p, rng: banded("horizontal", p, rng)),
    "bands vertical": ("bands:vertical", "", lambda p, rng: banded("vertical", p, rng)),
    "bands frame": ("bands:frame", "", lambda p, rng: banded("frame", p, rng)),
    "blurred": (
        "blurry", "blurry",
        lambda p, rng: p.filter(ImageFilter.GaussianBlur(rng.uniform(0.03, 0.06) * p.width)),
    ),
    "dark": ("dark", "dark", lambda p, rng: faded(p, 0, rng.uniform(20, 60))),
    "bright": ("bright", "light", lambda p, rng: faded(p, 255 - rng.uniform(5, 12), 255)),
    "flat": ("low-contrast", "low_information", lambda p, rng: faded(p, 120, 120 + rng.uniform(6, 20))),
    "grey": ("wrong-mode", "grayscale", lambda p, _: ImageEnhance.Color(p.convert("RGB")).enhance(0)),
}  # fmt: skip
"""Step of Plenish, issue of cleanvision, and how the fault is made."""


def rates(dropped: set[str], planted: set[str]) -> dict[str, Any]:
    """Recall and precision."""
    right = len(dropped & planted)
    return {
        "recall": round(right / len(planted), 4),
        "precision": round(right / len(dropped), 4) if dropped else None, "dropped": len(dropped),
    }  # fmt: skip


def faults(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Planted faults in one corpus, each kind in a corpus of its own with 5 % of it."""
    result: dict[str, Any] = {}
    for kind, (step, issue, change) in FAULTS.items():
        rng = np.random.default_rng([SEED, len(name), len(kind)])
        pictures = originals(name, asked.data, min(asked.count, 400), rng)
        bad = {f"{i:05d}" for i in rng.permutation(len(pictures))[: max(5, len(pictures) // 20)].tolist()}
        files = [
            (f"{i:05d}", change(p, rng) if f"{i:05d}" in bad else p) for i, p in enumerate(pictures)
        ]  # fmt: skip
        work = asked.work / f"faults-{name}-{kind}".replace(" ", "-")
        folder = saved(files, work / "planted")
        dataset = imported(folder)
        names = names_of(dataset)
        _, (taken,) = take(Corpus(dataset), plan([], [step]))
        result[kind] = {"plenish": rates({names[row] for row in taken.dropped}, bad)}
        if asked.oracles and issue:
            found = oracle(folder, asked.oracles, issue)["issues"].get(issue, set())
            result[kind]["cleanvision"] = rates(found, bad)
    return result


# Tags


def tags(asked: argparse.Namespace) -> dict[str, Any]:
    """Expressions over random tags, against Python's own sets."""
    rng = np.random.default_rng([SEED, 3])
    words = [f"tag_{i}" for i in range(40)]
    count = asked.count
    rows = [
        {
            "label": None, "tags": [words[k] for k in np.flatnonzero(rng.random(40) < 0.15)],
            "width": int(rng.integers(64, 512)), "score": float(rng.normal()) if rng.random() < 0.9 else None,
        }
        for _ in range(count)
    ]  # fmt: skip
    writer = DatasetWriter(
        asked.work / "tags",
        name="tags",
        size=8,
        channels=1,
        labels=LabelSchema(),
        config={"verb": "benchmark"},
    )
    with writer:
        writer.add(rng.integers(0, 256, (count, 8, 8, 1), np.uint8), rows)
    cases: dict[str, Callable[[dict[str, Any]], bool]] = {
        "tags any(tag_1, tag_2)": lambda r: bool({"tag_1", "tag_2"} & {*r["tags"]}),
        "tags all(tag_1, tag_2) or not tags any(tag_3) and width >= 256": lambda r: (
            {"tag_1", "tag_2"} <= {*r["tags"]} or ("tag_3" not in r["tags"] and r["width"] >= 256)
        ),
        "not (score < 0 or score is missing)": lambda r: r["score"] is not None and not r["score"] < 0,
    }  # fmt: skip
    result = {}
    for text, truth in cases.items():
        left, (taken,) = take(Corpus(writer.dataset), plan([text], []))
        wanted = [i for i, row in enumerate(rows) if truth(row)]
        result[text] = {"equal": left.tolist() == wanted, "left": len(left), "funnel": taken.after}
    return result


# Labels


def wrong_labels(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """5 % of the labels replaced by another class."""
    rng = np.random.default_rng([SEED, 5])
    images, labels, classes = labelled(name, asked, rng)
    wrong = rng.permutation(len(labels))[: len(labels) // 20]
    given = labels.copy()
    given[wrong] = (labels[wrong] + rng.integers(1, len(classes), len(wrong))) % len(classes)
    writer = DatasetWriter(
        asked.work / f"labels-{name.replace(' ', '-')}", name=name, size=images.shape[1],
        channels=images.shape[3], labels=LabelSchema("categorical", classes), config={"verb": "benchmark"},
    )  # fmt: skip
    with writer:
        writer.add(images, [{"label": classes[k]} for k in given])
    _, (taken,) = take(Corpus(writer.dataset), plan([], ["label-errors"], all_steps()))
    found = rates({str(row) for row in taken.dropped}, {str(row) for row in wrong})
    return found | {"images": len(labels), "agreement": taken.parameters["agreement"]}


def labelled(
    name: str, asked: argparse.Namespace, rng: Rng
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """Images with their classes."""
    if name == "drawn classes":
        classes, images, labels = tuple(DRAWN), [], []
        for k, draw in enumerate(DRAWN.values()):
            for _ in range(asked.count // 2):
                picture = draw(rng).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
                images.append(np.asarray(picture))
                labels.append(k)
        return np.stack(images), np.array(labels, np.int64), classes
    if name == "phantom":
        from plenish.commands.datasets import make_phantom

        if not (asked.work / "phantom").exists():
            make_phantom(asked.work / "phantom", patients=60, tiles=25, size=32)
        dataset = Dataset.open(asked.work / "phantom")
        rows = np.arange(len(dataset))
        return dataset.pixels.read(rows), dataset.y().argmax(axis=1), dataset.labels.names
    assert asked.data is not None
    (path,) = (asked.data / name).glob("*.npz")
    with np.load(path) as content:
        keys = list(content)
        x = next(content[key] for key in keys if content[key].ndim >= 3)
        y = next(content[key] for key in keys if content[key].ndim == 1)
    chosen = np.sort(rng.permutation(len(x))[:3000])
    images = x[chosen].reshape(len(chosen), x.shape[1], x.shape[2], -1).astype(np.uint8)
    return images, y[chosen].astype(np.int64), tuple(map(str, range(int(y.max()) + 1)))


def parts(asked: argparse.Namespace) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """All measurements by name."""
    real = [name for name in FOLDERS if asked.data and (asked.data / name).is_dir()]
    yield "tags", lambda: tags(asked)
    for name in (*DRAWN, *real):
        yield f"copies {name}", lambda name=name: near_duplicates(name, asked)  # type: ignore[misc]
    for name in ("paintings", *(n for n in real if n in ("ham10000", "tuxemon_sprites"))):
        yield f"faults {name}", lambda name=name: faults(name, asked)  # type: ignore[misc]
    sets = [n for n in ("mnist_test10k", "fashion_mnist_small") if asked.data and (asked.data / n).is_dir()]
    for name in ("drawn classes", "phantom", *sets):
        yield f"labels {name}", lambda name=name: wrong_labels(name, asked)  # type: ignore[misc]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--oracles", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args(words)
    asked.count = 70 if asked.quick else 800
    results = json.loads(asked.out.read_text()) if asked.out and asked.out.exists() else {}
    for name, measure in parts(asked):
        if asked.only and not any(name.startswith(one) for one in asked.only):
            continue
        with settings.use(quiet=True):
            results[name] = measure()
        print(name, json.dumps(results[name]), flush=True)
        if asked.out:
            asked.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
