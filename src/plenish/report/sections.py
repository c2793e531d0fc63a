"""Sections on the request and the data; None from one with nothing to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import PARTS
from plenish.datasets.split import SplitCaveat
from plenish.datasets.synthetic import generator_words
from plenish.metrics.quality import kimg_of
from plenish.metrics.words import number
from plenish.report.inputs import ReportInputs
from plenish.report.page import Block, Facts, Notes, Section, Table, Text, plain
from plenish.wording import agree, images_shown, plural

_MODELS = {
    "generator": "A generator", "autoencoder": "An autoencoder",
    "translation": "A network that makes pictures of sketches",
    "perturber": "A network that perturbs images to fool a classifier",
}  # fmt: skip


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as dotted keys and values, empty lists left out."""
    rows: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            rows |= flatten(value, f"{prefix}{key}.")
        elif value != []:
            rows[f"{prefix}{key}"] = value
    return rows


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names in a sentence: `a, b and c`, or the first few and how many more."""
    if len(names) > most:
        return ", ".join(names[:most]) + f" and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


# What was asked


def asked(inputs: ReportInputs) -> Section:
    """The configuration in words and as a table."""
    said: list[Block] = [Text(say(inputs)) for say in (_asked_train, _asked_images, _asked_study)]
    reasons = (inputs.training.get("auto") or {}).get("reasons") or []
    said.insert(1, Notes(list(map(str, reasons)), "Why this generator was chosen for these data"))
    settings = Facts(flatten(inputs.training), heading="Settings of the training", folded=True)
    return Section("asked", "How they were made", [*said, settings])


def _asked_train(inputs: ReportInputs) -> str:
    run = inputs.run
    if run is None:
        return ""
    config = inputs.training
    recipe = config.get("recipe")
    what = _MODELS.get(run.kind, "A network")
    text = f"{what} of the family {config['family']}" if config.get("family") else what
    text += " was trained" + (f" by the recipe “{plain(recipe)}”" if recipe else "")
    if inputs.data is not None:
        data = inputs.data
        text += f" on the training part of {data.name}: images of {data.size}×{data.size} pixels"
        text += f" in {colours(data)}"
        if data.labels.kind == "categorical":
            text += f", {plural(len(data.labels.names), 'class')} ({listed(data.labels.names)})"
    reached, wanted = run.status.get("kimg"), (config.get("schedule") or {}).get("kimg")
    if reached is not None:
        text += f". It was shown {plain(round(float(reached), 1))} thousand real images"
        if isinstance(wanted, (int, float)) and abs(wanted - reached) > 0.01 * wanted:
            text += f" of the {plain(float(wanted))} thousand asked for"
    return text + "."


def colours(data: Dataset) -> str:
    """What the channels are."""
    return "colour" if data.channels == 3 else "grey"


def _asked_images(inputs: ReportInputs) -> str:
    if inputs.synthetic is None:
        return ""
    if inputs.kind != "synthetic":
        n = plural(len(inputs.synthetic), "other real image")
        return f"For a baseline, {n} of {inputs.synthetic.name} were compared with the real ones."
    generator = inputs.generator
    made = agree(len(inputs.synthetic), "image", "was", "were")
    by = "with it" if inputs.run is not None else f"by {generator_words(generator)}"
    text = f"{made} generated {by}"
    if (kimg := kimg_of(generator.get("checkpoint"))) is not None:
        text += f" as it was after {images_shown(kimg)} ({kimg:g} kimg)"
    details = []
    if generator.get("truncation") not in (None, 1, 1.0):
        details.append(f"truncation {plain(generator['truncation'])}")
    if generator.get("seed") is not None:
        details.append(f"seed {plain(generator['seed'])}")
    return text + (f" ({', '.join(details)})" if details else "") + "."


def _asked_study(inputs: ReportInputs) -> str:
    study = inputs.study
    if study is None:
        return ""
    return (
        f"The same classifier ({study['classifier']}) was then trained on {listed(study['arms'])} for "
        f"{plural(study['steps'], 'step')} of {study['batch']} images each, with "
        f"{plural(len(study['seeds']), 'seed')} per arm, and tested on the same, unseen real images."
    )


# Data and split


def data_and_split(inputs: ReportInputs) -> Section | None:
    """Counts per class and part, groups, how closely the split is stratified, how often test was read."""
    data = inputs.data
    if data is None:
        return _data_from_results(inputs)
    lead = f"{data.name}: {plural(len(data), 'image')} of {data.size}×{data.size} pixels in {colours(data)}"
    if data.labels.kind == "none":
        lead += ", without labels"
    blocks = _split_blocks(data, inputs.split) if inputs.split in data.split_names() else []
    blocks.append(Facts({"Source": data.manifest.source, "Licence": data.manifest.licence}))
    if rejected := data.manifest.extra.get("rejected"):
        blocks.append(Text(f"{plural(rejected, 'file')} could not be used; rejected.csv gives the reasons."))
    return Section("data", "Data and split", blocks, lead=lead + ".")


def _split_blocks(data: Dataset, split: str) -> list[Block]:
    frozen = data.split(split)
    table = data.table.assign(part=frozen.part_of.to_numpy())
    parts = [part for part in PARTS if (table["part"] == part).any()]
    sentences = []
    grouped = table.dropna(subset=["group"])
    if len(grouped):
        count = grouped.groupby("part")["group"].nunique()
        parted = ", ".join(f"{count.get(part, 0):,} in {part}" for part in parts)
        shared = int((grouped.groupby("group")["part"].nunique() > 1).sum())
        where = (
            f"{agree(shared, 'group', 'is', 'are')} in several parts!" if shared else "No group is in two."
        )
        sentences.append(f"Groups (patients, lesions, slides): {parted}. {where}")
    else:
        sentences.append("No groups are known, so images of one patient or slide may be in several parts.")
    spread = stratification(table, parts) if data.labels.kind == "categorical" else None
    if spread is not None:
        sentences.append(
            "The share of a class in a part differs from its share overall by at most "
            f"{number(spread, 2)} percentage points."
        )
    reads = data.test_reads(split)
    times = {0: "not been read", 1: "been read once"}.get(reads, f"been read {reads:,} times")
    sentences.append(f"The test part has {times} so far; every reading is counted.")
    caveats = [str(SplitCaveat(**record)) for record in frozen.manifest.get("caveats") or []]
    return [_count_table(data, table, parts), Text(" ".join(sentences)), Notes(caveats)]


def stratification(table: pd.DataFrame, parts: Sequence[str]) -> float | None:
    """The largest difference of a class's share in a part from its share overall, in percentage points.

    Args:
        table: columns `label` and `part`, one row an image.
        parts: the parts to look at.
    """
    if len(parts) < 2 or not len(table):
        return None
    whole = table["label"].value_counts(normalize=True)
    shares = pd.crosstab(table["label"], table["part"], normalize="columns")
    shares = shares.reindex(index=whole.index, columns=list(parts), fill_value=0)
    return 100 * float(shares.sub(whole, axis=0).abs().to_numpy().max())


def _count_table(data: Dataset, table: pd.DataFrame, parts: Sequence[str]) -> Table:
    classes = data.labels.names if data.labels.kind == "categorical" else ()
    named = [(name, table["part"][table["label"] == name]) for name in classes]
    named.append(("all", table["part"]))
    rows: list[dict[str, Any]] = []
    for name, part_of in named:
        counts = {part: int((part_of == part).sum()) for part in parts}
        rows.append({"class" if classes else "": name, **counts, "all": len(part_of)})
    return Table(rows, "Images per class and part", last_is_total=bool(classes))


def _data_from_results(inputs: ReportInputs) -> Section | None:
    """What the result files say of data that is no longer there."""
    for result in inputs.results:
        real = result["real"]
        facts = {
            "Name": real["name"], "Images in train": real["n_train"], "Images in test": real["n_test"],
            "Groups in test": real["groups_test"], "Split": real["split"],
            "Reads of the test part": result["test_reads"],
        }  # fmt: skip
        return Section("data", "Data and split", [Facts(facts)])
    return None
