"""A planted, tagged corpus: how fast `plenish import` and `profile` are with it, and in how much memory.

    python benchmarks/corpus.py make CORPUS --images 300000
    python benchmarks/corpus.py measure CORPUS OUT

`make` draws figures of 32 pixels (a head, hair, a body, legs, a background) as PNG and JPEG files in folders
of 1,000, with one line of Danbooru-style JSON each; 2 in 100 are near-duplicates of another one (mirrored,
turned, brighter or compressed again) and `planted.json` says of which. `measure` runs the two commands in
processes of their own and reports wall time, processor time, load and the peak resident memory of all their
processes together, sampled every 0.2 s.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

EDGE = 32
_BLOCK = 2000
_PLANTED = 0.02
_COLOURS = {
    "black": (20, 18, 24), "brown": (110, 70, 40), "blonde": (235, 205, 110), "red": (200, 50, 40),
    "blue": (60, 90, 210), "green": (70, 160, 80), "pink": (240, 140, 180), "white": (245, 245, 245),
    "purple": (130, 70, 170), "grey": (140, 140, 140),
}  # fmt: skip
_NAMES = list(_COLOURS)
_PALETTE = np.array(list(_COLOURS.values()), np.float32)
_CHANGES = ("mirrored", "turned", "brighter", "compressed")


def draw(rng: np.random.Generator, n: int) -> tuple[NDArray[np.uint8], list[list[str]]]:
    """Figures N×32×32×3 and their tags."""
    y, x = np.mgrid[0:EDGE, 0:EDGE].astype(np.float32)[:, None] / EDGE
    hair, top, legs, plain = (rng.integers(0, len(_NAMES), n) for _ in range(4))
    white, solo, full, hat, boy = (rng.random(n) < p for p in (0.4, 0.85, 0.5, 0.2, 0.3))

    def of(low: float, high: float) -> NDArray[np.float32]:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    ground = np.where(white[:, None], _PALETTE[7], _PALETTE[plain])[:, None, None, :]
    tilt_x, tilt_y, slope = of(-1, 1), of(-1, 1), of(0, 1) * ~white[:, None, None]
    shade = 40 * slope * (tilt_x * (x - 0.5) + tilt_y * (y - 0.5) + 0.5 * np.sin(9 * tilt_x * x + 7 * y))
    out = ground + shade[..., None]
    middle, size, lean = of(0.3, 0.7), of(0.1, 0.2), of(-0.25, 0.25)
    head_y, width, stance = of(0.15, 0.4), of(0.07, 0.2), of(0.03, 0.14)
    along = middle + lean * (y - head_y)

    def paint(mask: NDArray[np.bool_], colours: NDArray[np.float32], alpha: float = 1.0) -> None:
        share = alpha * mask[..., None].astype(np.float32)
        out[:] = out * (1 - share) + colours[:, None, None, :] * share

    paint(((x - along) / (1.3 * size)) ** 2 + ((y - head_y) / (of(1.1, 2.6) * size)) ** 2 < 1, _PALETTE[hair])
    waist = head_y + size + of(0.1, 0.3)
    paint((np.abs(x - along) < width * (1 + of(-0.5, 1) * (y - head_y))) & (y > head_y) & (y < waist),
          _PALETTE[top])  # fmt: skip
    feet = np.where(full[:, None, None], waist + of(0.1, 0.3), 1.1)
    for side in (-1, 1):
        paint((np.abs(x - along - side * stance) < 0.5 * stance) & (y >= waist) & (y < feet), _PALETTE[legs])
        arm = along + side * (width + of(-0.2, 0.6) * (y - head_y - size))
        paint((np.abs(x - arm) < 0.035) & (y > head_y + size) & (y < waist + 0.05), _PALETTE[top])
    skin = np.array([[244, 205, 175], [200, 150, 110], [120, 80, 55]], np.float32)[rng.integers(0, 3, n)]
    paint(((x - along) / size) ** 2 + ((y - head_y) / size) ** 2 < 1, skin)
    for side in (-1, 1):
        eye = (np.abs(x - along - side * 0.4 * size) < 0.03) & (np.abs(y - head_y) < 0.03)
        paint(eye, _PALETTE[rng.integers(0, 6, n)])
    paint((np.abs(x - along) < 1.2 * size) & (np.abs(y - head_y + size) < 0.04) & hat[:, None, None],
          _PALETTE[rng.integers(0, len(_NAMES), n)])  # fmt: skip
    out += rng.normal(0, 2, out.shape).astype(np.float32)
    tags = []
    for i in range(n):
        found = ["1boy" if boy[i] else "1girl", f"{_NAMES[hair[i]]}_hair", f"{_NAMES[top[i]]}_shirt"]
        found += ["white_background"] if white[i] else [f"{_NAMES[plain[i]]}_background"]
        found += [name for name, there in (("solo", solo), ("full_body", full), ("hat", hat)) if there[i]]
        found += [f"tag_{int(k)}" for k in rng.zipf(1.4, 6) if k < 10**6]
        tags.append(sorted(set(found)))
    return out.clip(0, 255).astype(np.uint8), tags


def changed(image: NDArray[np.uint8], how: str) -> NDArray[np.uint8]:
    """A near-duplicate of an image."""
    if how == "mirrored":
        return image[:, ::-1]
    if how == "turned":
        return np.rot90(image)
    if how == "brighter":
        return (image.astype(np.int16) + 5).clip(0, 255).astype(np.uint8)
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "JPEG", quality=92)
    return np.asarray(Image.open(packed))


def make(folder: Path, count: int, seed: int = 0) -> None:
    """Write the corpus: images/0000/7.png …, posts.jsonl and planted.json."""
    rng = np.random.default_rng(seed)
    planted: dict[int, tuple[int, str]] = {}
    folder.mkdir(parents=True)
    with (folder / "posts.jsonl").open("w", encoding="utf-8") as lines:
        for start in range(0, count, _BLOCK):
            n = min(_BLOCK, count - start)
            images, tags = draw(rng, n)
            copies = np.flatnonzero(rng.random(n) < _PLANTED)
            originals = np.setdiff1d(np.arange(n), copies)
            for i in copies.tolist() if len(originals) else []:
                j, how = int(rng.choice(originals)), str(rng.choice(_CHANGES))
                images[i], planted[start + i] = changed(images[j], how), (start + j, how)
            for i in range(n):
                number = start + i
                place = folder / f"images/{number // 1000:04d}"
                if number % 1000 == 0:
                    place.mkdir(parents=True)
                kind = "png" if number % 2 else "jpg"
                options: dict[str, Any] = {"compress_level": 1} if kind == "png" else {"quality": 95}
                Image.fromarray(images[i]).save(place / f"{number}.{kind}", **options)
                row = {
                    "id": number, "rating": "gsqe"[min(3, int(rng.exponential(0.5)))],
                    "score": int(rng.integers(0, 100)), "source": f"https://example.org/{number}",
                    "license": ("CC0-1.0", "CC-BY-4.0")[number % 2],
                    "tag_string_general": " ".join(tags[i]),
                    "tag_string_artist": f"artist_{int(rng.zipf(1.5)) % 5000}",
                    "tag_string_character": f"character_{int(rng.integers(0, 400))}",
                    "image_width": EDGE, "image_height": EDGE,
                }  # fmt: skip
                lines.write(json.dumps(row) + "\n")
    (folder / "planted.json").write_text(json.dumps({str(k): v for k, v in planted.items()}))


def resident(pid: int) -> int:
    """Bytes resident in a process and all its descendants."""
    total, left = 0, [pid]
    while left:
        one = left.pop()
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for task in Path(f"/proc/{one}/task").iterdir():
                left += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return total


def timed(*words: str) -> dict[str, Any]:
    """Run `plenish` with these words; wall seconds, load before and after, and peak memory in MiB."""
    before, start, peak = os.getloadavg()[0], time.perf_counter(), 0
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [sys.executable, "-m", "plenish", *words, "--quiet"], stdout=subprocess.DEVNULL
    )
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.2)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    return {
        "command": " ".join(words[:1]), "exit": process.returncode, "processor_seconds": round(busy, 1),
        "seconds": round(time.perf_counter() - start, 1), "peak_mib": peak // 2**20,
        "load": [round(before, 2), round(os.getloadavg()[0], 2)],
    }  # fmt: skip


def recall(corpus: Path, data: Path) -> dict[str, float]:
    """Which planted near-duplicates `profile` has found, and which pairs of its clusters were planted."""
    from plenish.datasets.dataset import Dataset
    from plenish.datasets.near_duplicates import clusters

    dataset = Dataset.open(data)
    of = dict(zip((int(Path(name).stem) for name in dataset.column("source")), clusters(dataset).tolist()))
    planted = {int(k): v[0] for k, v in json.loads((corpus / "planted.json").read_text()).items()}
    found = sum(of[a] == of[b] for a, b in planted.items())
    members: dict[int, set[int]] = {}
    for number, cluster in of.items():
        members.setdefault(cluster, set()).add(number)
    root = {number: planted.get(number, number) for number in of}
    several = [one for one in members.values() if len(one) > 1]
    joined = sum(len(one) - 1 for one in several)
    right = sum(len(one) - len({root[number] for number in one}) for one in several)
    return {"planted": len(planted), "recall": found / len(planted), "precision": right / max(1, joined)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make")
    making.add_argument("corpus", type=Path)
    making.add_argument("--images", type=int, default=300_000)
    making.add_argument("--seed", type=int, default=0)
    measuring = verbs.add_parser("measure")
    measuring.add_argument("corpus", type=Path)
    measuring.add_argument("out", type=Path)
    options = parser.parse_args()
    if options.verb == "make":
        make(options.corpus, options.images, options.seed)
        return
    data, profile = options.out / "data", options.out / "profile"
    for path in (data, profile):
        shutil.rmtree(path, ignore_errors=True)
    imported = timed("import", str(options.corpus), str(data), "--preset", "tagged", "--size", str(EDGE))
    profiled = timed("profile", str(data), str(profile))
    print(json.dumps({"import": imported, "profile": profiled, **recall(options.corpus, data)}, indent=2))


if __name__ == "__main__":
    main()
