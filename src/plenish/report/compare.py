"""Generators side by side: methods, resolutions and the course of training, as pictures and one page."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.latent.render import Row, figure
from plenish.latent.space import LatentSpace
from plenish.lineage import lineage, lines
from plenish.metrics.advice import LEVELS
from plenish.metrics.quality import kimg_of, of_run
from plenish.networks.gan.contract import Generator
from plenish.progress import plain_duration
from plenish.report.compare_options import CompareOptions
from plenish.report.page import Block, Code, Notes, Pictures, Section, Table, render_page
from plenish.report.pictures import from_file, pick
from plenish.runs import Run
from plenish.training.checkpoints import find_checkpoint
from plenish.wording import plural

Pixels = NDArray[np.uint8]
_GAP = 2
"""Pixels between the images of a sample grid."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What was compared, and where it was written.

    Attributes:
        out: the folder.
        rows: facts of each Run.
        remarks: what could not be shown, sentences.
    """

    out: Path
    rows: Sequence[Mapping[str, Any]]
    remarks: Sequence[str]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        remarks = {"remarks": list(self.remarks)} if self.remarks else {}
        pictures = sorted(path.name for path in self.out.glob("*.png"))
        page = str(self.out / "compare.html")
        return {"runs": list(self.rows), "pictures": pictures, **remarks, "report": page}


@dataclasses.dataclass(frozen=True)
class _Reals:
    """Training images for a row.

    Attributes:
        pixels: uint8 N×H×W×C.
        y: their labels, N×K.
        phantom: whether a program drew them.
    """

    pixels: Pixels
    y: NDArray[np.float32]
    phantom: bool


def compare_runs(paths: Sequence[Path], out: Path, how: CompareOptions) -> Comparison:
    """Write the pictures, compare.json and compare.html.

    `methods.png` has a row of images of each Run and one of real images; `stages-RUN.png` of a Run that grew
    has generated and real images at each resolution; `evolution-RUN.png` has images of the same latents at
    moments of the training.

    Args:
        paths: Runs of generators.
        out: the folder; must not exist.
        how: what is shown.

    Raises:
        InputError: a Run is none of a generator, has no checkpoint or is named twice, or OUT exists.
    """
    runs = _named([Run.open(path, "generator") for path in paths])
    rows: list[dict[str, Any]] = []
    remarks: list[str] = []
    methods: list[Row] = []
    real_row: Row | None = None
    phantom = False
    states = {
        name: [run.id, find_checkpoint(run, how.checkpoint).name, run.status.get("kimg")]
        for name, run in runs.items()
    }
    asked = {"runs": states, **dataclasses.asdict(how)}
    with files.atomic_dir(out, asked) as folder:
        for name, run in runs.items():
            space, reals = LatentSpace(run.path, how.checkpoint), None
            try:
                reals = _reals(run, space, how)
            except InputError as error:
                remarks.append(f"{name} is shown without real images: {error}")
            methods.append(Row(_title(run, name, space), _images(space, reals, how)))
            rows.append(_facts(run, name, space))
            if reals is not None:
                real_row, phantom = real_row or Row("real", reals.pixels), phantom or reals.phantom
            if stages := _stages(space, reals, how):
                figure(stages).save(folder / f"stages-{name}.png")
            if moments := _evolution(run, space.network.size, how):
                figure(moments).save(folder / f"evolution-{name}.png")
        figure(_of_one_size([*methods, *([real_row] if real_row else [])])).save(folder / "methods.png")
        content = {"kind": "comparison", "runs": rows, "remarks": remarks, **dataclasses.asdict(how)}
        files.write_json(folder / "compare.json", content)
        files.write_text(folder / "compare.html", _page(folder, list(runs.values()), rows, remarks, phantom))
    return Comparison(out, rows, remarks)


def _named(runs: Sequence[Run]) -> dict[str, Run]:
    """The Runs by the names of their folders, with that of the folder above where two have one name."""
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise InputError("A Run is given twice; name each once.")
    places = [run.path.resolve() for run in runs]
    names = [place.name for place in places]
    if len(set(names)) < len(names):
        names = [f"{place.parent.name}-{place.name}" for place in places]
    if len(set(names)) < len(names):
        raise InputError("Two Runs have folders of one name, in folders of one name; rename one of them.")
    return dict(zip(names, runs, strict=True))


# Images


def _reals(run: Run, space: LatentSpace, how: CompareOptions) -> _Reals:
    """Training images, of the classes in turn where there are classes.

    Raises:
        InputError: the Dataset is gone, or is another one by now.
    """
    data = run.config["data"]
    dataset = Dataset.open(str(data["path"]))
    if dataset.manifest.pixels_hash != data["pixels_hash"]:
        raise InputError(f"{data['path']} holds other images than it was trained on.")
    train = dataset.part("train", data["split_name"], purpose="report")
    rng = np.random.default_rng(how.seed)
    order = rng.permutation(len(train))
    if space.labels.kind == "categorical":
        codes = train.codes[order]
        turns = [itertools.cycle(order[codes == k]) for k in np.unique(codes)]
        order = np.array([next(turns[i % len(turns)]) for i in range(how.images)])
    chosen = np.resize(order, how.images)
    return _Reals(train.images(chosen), train.y()[chosen], bool(dataset.manifest.extra.get("phantom")))


def _images(space: LatentSpace, reals: _Reals | None, how: CompareOptions) -> Pixels:
    y = None
    if space.labels.width:
        if reals is None and space.labels.kind != "categorical":
            raise InputError(
                f"{space.loaded.run.path} makes images for {space.labels.kind} labels, which are taken from "
                "its training data, and those are not there."
            )
        y = None if reals is None else reals.y
    return space.images(space.draw(range(how.seed, how.seed + how.images), y))


def _stages(space: LatentSpace, reals: _Reals | None, how: CompareOptions) -> list[Row]:
    """Generated and real images at each resolution that a growing generator has gone through."""
    run, network = space.loaded.run, space.network
    if not isinstance(network, Generator) or network.stages == 1:
        return []
    rows: list[Row] = []
    sizes = [network.stage_size(number) for number in range(network.stage + 1)]
    parts = run.status.get("parts", {})
    for number, size in enumerate(sizes):
        ends = parts.get(str(sizes[number + 1])) if number < network.stage else space.loaded.checkpoint.name
        if ends is None or not (run.path / "checkpoints" / ends).is_dir():
            continue
        at = LatentSpace(run.path, ends)
        assert isinstance(at.network, Generator)
        if number < network.stage:
            at.network.grow(number)  # The checkpoint is of the moment when the next stage begins.
        rows.append(Row(f"{size} px\ngenerated", _images(at, reals, how)))
        if reals is not None:
            rows.append(Row(f"{size} px\nreal", _averaged(reals.pixels, size)))
    return rows


def _averaged(pixels: Pixels, size: int) -> Pixels:
    """Images as a stage of `size` pixels sees them, each pixel repeated up to the full size."""
    n, height, width, channels = pixels.shape
    factor = height // size
    small = pixels.reshape(n, size, factor, width // factor, factor, channels).mean((2, 4))
    enlarged: Pixels = np.rint(small).astype(np.uint8).repeat(factor, 1).repeat(factor, 2)
    return enlarged


def _evolution(run: Run, size: int, how: CompareOptions) -> list[Row]:
    """The first images of the sample grids, which are of the same latents, at moments of the training."""
    grids = {kimg: path for path in (run.path / "samples").glob("kimg-*.png")
             if (kimg := kimg_of(path.stem)) is not None}  # fmt: skip
    moments = sorted(grids)
    rows = []
    for position in pick(len(moments), how.times):
        with Image.open(grids[moments[position]]) as opened:
            grid = np.asarray(opened.convert("RGB"))
        across, down = ((side - _GAP) // (size + _GAP) for side in (grid.shape[1], grid.shape[0]))
        places = [divmod(i, across) for i in range(min(how.images, across * down))]
        starts = [(_GAP + row * (size + _GAP), _GAP + column * (size + _GAP)) for row, column in places]
        tiles = [grid[top : top + size, left : left + size] for top, left in starts]
        rows.append(Row(f"{moments[position]:g} kimg", np.stack(tiles)))
    return rows


def _of_one_size(rows: Sequence[Row]) -> list[Row]:
    """Rows whose images all have the size of the largest, enlarged where they are smaller."""
    size = max(row.images.shape[1] for row in rows)

    def enlarged(images: Pixels) -> Pixels:
        if images.shape[1] == size:
            return images
        how = Image.Resampling.NEAREST if size % images.shape[1] == 0 else Image.Resampling.BICUBIC
        made = [Image.fromarray(image.squeeze(-1) if image.shape[2] == 1 else image) for image in images]
        return np.stack([np.asarray(one.convert("RGB").resize((size, size), how)) for one in made])

    return [dataclasses.replace(row, images=enlarged(row.images)) for row in rows]


# Facts and the page


def _title(run: Run, name: str, space: LatentSpace) -> str:
    kimg = kimg_of(space.loaded.checkpoint.name)
    return "\n".join([name, str(run.config["config"]["recipe"]), "" if kimg is None else f"{kimg:g} kimg"])


def _facts(run: Run, name: str, space: LatentSpace) -> dict[str, Any]:
    """A row of the table."""
    status, config = run.status, run.config["config"]
    quality = of_run(run, space.loaded.checkpoint.name)
    seconds = status.get("seconds")
    return {
        "run": name, "recipe": config["recipe"], "family": config["family"], "px": space.network.size,
        "data": run.config["data"].get("name"), "kimg": status.get("kimg"),
        "checkpoint": space.loaded.checkpoint.name,
        "parameters": sum(p.numel() for p in space.network.parameters()),
        "training": None if seconds is None else plain_duration(seconds),
        "images": "not measured" if quality is None else LEVELS[quality.level],
        "figures": None if quality is None else str(quality),
    }  # fmt: skip


def _page(
    folder: Path,
    runs: Sequence[Run],
    rows: Sequence[Mapping[str, Any]],
    remarks: Sequence[str],
    phantom: bool,
) -> str:
    names = [str(row["run"]) for row in rows]

    def pictures(kind: str, what: str) -> list[Block]:
        found = [from_file(folder / f"{kind}-{name}.png", f"{what} of {name}", name) for name in names]
        shown = [picture for picture in found if picture is not None]
        return [Pictures(shown, wide=True)] if shown else []

    methods = from_file(folder / "methods.png", "A row of images for each Run")
    words = ("run", "recipe", "family", "data", "checkpoint", "training", "images", "figures")
    tree = list(lines(lineage(runs)))
    sections = [
        Section("methods", "Side by side", [Pictures([methods] if methods else [], wide=True)],
                "The same seeds for all Runs, not chosen; the last row is of real training images."),
        Section("facts", "Facts", [Table(rows, words=words)]),
        Section("stages", "Resolution by resolution", pictures("stages", "Generated and real images by size"),
                "Generated images at the end of each stage, above real ones averaged down to that size."),
        Section("evolution", "In the course of the training", pictures("evolution", "Images over time"),
                "Images of the same latents at moments of the training."),
        Section("lineage", "What came from what", [Code(tree)]),
        Section("remarks", "Remarks", [Notes(remarks)]),
    ]  # fmt: skip
    title = f"Comparison of {plural(len(rows), 'generator')}"
    return render_page(title, ", ".join(names), sections, [], phantom=phantom)
