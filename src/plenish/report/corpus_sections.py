"""Sections of a profile's page about a corpus: tags, sizes, colours, bands, copies, variability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plenish.datasets.complexity import MEASURES
from plenish.datasets.complexity_references import REFERENCES
from plenish.datasets.dataset import Dataset
from plenish.report.figures import histogram, matrix
from plenish.report.page import Block, Charts, Facts, Pictures, Section, Table, Text, cell
from plenish.report.pictures import Picture, sheet
from plenish.wording import plural

_IN_MATRIX = 12
_BAND_WORDS = {
    "none": "no bands", "horizontal": "bands above or below", "vertical": "bands left or right",
    "frame": "both, a frame", "blank": "one colour all over",
}  # fmt: skip


def tag_sections(content: Mapping[str, Any]) -> list[Section]:
    """A section for each column of lists."""
    return [_tags(one, i) for i, one in enumerate(content.get("tags", ()))]


def _tags(one: Mapping[str, Any], i: int) -> Section:
    mean, largest = one["an_image"]["mean"], one["an_image"]["largest"]
    lead = (
        f"{plural(one['distinct'], 'distinct tag')} in {plural(one['images'], 'image')}, {mean:.1f} an image "
        f"(at most {largest:,}); {plural(one['without'], 'image')} without any."
    )
    typical = [
        {
            "and": row["tag"], "images that have all so far": row["images"], "share": _percent(row["share"]),
            "of those before": _percent(row["of_those_before"]),
        }
        for row in one["typical"]
    ]  # fmt: skip
    sets = [
        {"all tags": ", ".join(row["tags"]), "images": row["images"], "share": _percent(row["share"])}
        for row in one["sets"]
    ]
    top = [
        {"tag": row["tag"], "images": row["images"], "share": _percent(row["share"])} for row in one["top"]
    ]
    pairs = [
        {"tags": " + ".join(row["tags"]), "images": row["images"], "times chance": f"{row['lift']:.1f}"}
        for row in one["pairs"]
    ]
    spread = [
        {"images a tag": _range(row["from"], row["to"]), "tags": row["tags"]} for row in one["distribution"]
    ]
    few = one["top"][:_IN_MATRIX]
    blocks: list[Block] = [
        Table(typical, "The most typical image: each row adds the tag that most of the images above have"),
        Table(top[:15], "The most common tags"),
        Table(top[15:], f"The next {len(top[15:])}", folded=True),
        Table(spread, "How many tags have how many images"),
    ]
    together = np.array(one["together"], dtype=int).reshape(len(one["top"]), -1)[: len(few), : len(few)]
    if together.sum() > np.trace(together):
        title = "Images with both tags, of the most common ones"
        blocks.append(Charts([matrix(title, [row["tag"] for row in few], together)], wide=True))
    blocks += [
        Table(pairs, "Tags that come together most beyond chance"),
        Table(sets, "The most frequent whole sets of tags", folded=True),
    ]
    return Section(f"tags-{i}", f"Tags: {one['column']}", blocks, lead)


def _range(start: int, stop: int | None) -> str:
    if stop is None:
        return f"{start:,} and more"
    return f"{start:,}" if start == stop else f"{start:,} to {stop:,}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def look_sections(content: Mapping[str, Any], dataset: Dataset) -> list[Section]:
    """Sizes, colours and values, bands, sets of copies, and how variable the set is."""
    return [
        _sizes(content), _colours(content), _bands(content, dataset), _copies(content, dataset),
        _complexity(content),
    ]  # fmt: skip


def _sizes(content: Mapping[str, Any]) -> Section:
    sizes = content.get("sizes")
    if not sizes:
        return Section("sizes", "Sizes of the files", [])
    facts = {
        name.capitalize(): f"{of['least']:.4g} to {of['largest']:.4g}, median {of['median']:.4g}"
        for name, of in ((name, sizes[name]) for name in ("width", "height", "aspect"))
    }
    facts["Square"] = _percent(sizes["square"])
    facts[f"Smaller than {content['size']} pixels"] = cell(sizes["smaller"])
    varied = sizes["width"]["least"] < sizes["width"]["largest"] or sizes["square"] < 1
    charts = [
        histogram(
            "Widths and heights", sizes["side_edges"], {"width": sizes["widths"], "height": sizes["heights"]},
            x_label="pixels", log=True,
        ),
        histogram(
            "Aspect ratio", np.clip(sizes["aspect_edges"], 0.25, 4), {"images": sizes["aspects"]},
            x_label="width : height", log=True,
        ),
    ] if varied else []  # fmt: skip
    return Section(
        "sizes", "Sizes of the files", [Facts(facts), Charts(charts), Table(sizes["common"], "Most common")]
    )


def _colours(content: Mapping[str, Any]) -> Section:
    colours, values = content["colours"], content["values"]
    edges = np.linspace(0, 256, len(colours["channels"][0]) + 1)
    names = ["grey"] if len(colours["channels"]) == 1 else ["red", "green", "blue"]
    charts = [
        histogram("Pixels by value", edges, dict(zip(names, colours["channels"])), x_label="grey level"),
        histogram(
            "Images by mean value",
            colours["brightness"]["edges"],
            {name: colours[name]["counts"] for name in ("brightness", "contrast", "saturation")},
            x_label="grey levels",
        ),
    ]
    depth = values["source_depth"]
    facts = {
        "Values of the pixels": f"{values['lowest']} to {values['highest']} of 255",
        "Black, white": f"{_percent(values['black'])}, {_percent(values['white'])} of all values",
        "Files of": ", ".join(f"{name}: {count:,}" for name, count in depth.items()),
        "Images without colours": cell(colours["grey_images"]),
    }
    narrow = ""
    if values["highest"] <= 1 or values["highest"] - values["lowest"] < 64:
        narrow = (
            "The values fill a small part of the range: the files may hold values from 0 to 1, or of 12 or "
            "16 bits; import with --bits or --window, or save them with 0 to 255."
        )
    return Section("colours", "Colours and values", [Text(narrow), Facts(facts), Charts(charts)])


def _bands(content: Mapping[str, Any], dataset: Dataset) -> Section:
    found = content["bands"]
    total = max(1, sum(found["images"].values()))
    rows = [
        {
            "bands": _BAND_WORDS[kind], "images": count, "share": _percent(count / total),
            "median width": _percent(found["median_width"][kind]) if kind in found["median_width"] else "–",
        }
        for kind, count in found["images"].items()
    ]  # fmt: skip
    pictures = [_sheet(dataset, rows_of, _BAND_WORDS[kind]) for kind, rows_of in found["rows"].items()]
    lead = "Uniform bands at the sides, as padding to a square leaves them; widths in percent of the side."
    return Section("bands", "Bands", [Table(rows), Pictures(pictures)], lead)


def _copies(content: Mapping[str, Any], dataset: Dataset) -> Section:
    sets = content["near_duplicate_rows"]
    pictures = [_sheet(dataset, one, plural(len(one), "image"), columns=len(one)) for one in sets]
    lead = "The largest sets of images that show one picture, at most 8 images of each." if sets else ""
    return Section("copies", "Near-duplicates", [Pictures(pictures)], lead)


def _sheet(dataset: Dataset, rows: Sequence[int], caption: str, columns: int = 6) -> Picture:
    images = dataset.pixels.read(np.asarray(rows, np.int64))
    return sheet(images, caption, columns=min(columns, len(rows)), tile=72, caption=caption)


def _complexity(content: Mapping[str, Any]) -> Section:
    rows = [
        {"set": name, **{MEASURES[key]: _short(of[key]) for key in MEASURES}, "images": of["images"]}
        for name, of in {content["name"]: content["complexity"], **REFERENCES}.items()
    ]
    lead = (
        "How variable the set is, beside known ones, all measured at 32 pixels on at most 2,000 images. More "
        "directions, larger differences and more bits mean a set that is harder to learn."
    )
    return Section("complexity", "How variable is it?", [Table(rows)], lead)


def _short(value: float) -> str:
    return f"{value:.3g}"
