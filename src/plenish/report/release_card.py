"""The data card of released images, as sections for README.md and card.html, and the page of a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plenish.datasets.licences import LicenceRemark
from plenish.datasets.synthetic import generator_words
from plenish.metrics.advice import LEVELS
from plenish.metrics.caveats import describe
from plenish.metrics.quality import from_record
from plenish.metrics.release_audit import Objection
from plenish.metrics.words import (
    comparable,
    describe_copies,
    describe_reidentification,
    interval,
    number,
    percent,
    with_interval,
)
from plenish.report.headline import LEVEL_TONES
from plenish.report.page import Block, Card, Code, Facts, Notes, Pictures, Section, Table, Text, render_page
from plenish.report.pictures import Picture, from_file
from plenish.wording import plural

NOT_FOR = (
    "Diagnosis, treatment or any decision about a person. This is not a medical device.",
    "Presenting an image as that of a real patient, or as evidence that something was observed.",
    "Testing or validating a model: measure on real images of patients that neither the generator nor the "
    "model has seen.",
    "Estimating how often something occurs: the numbers of images follow what was asked of the generator.",
    "Training a generator whose images are then passed off as learned from real ones.",
)
"""What synthetic images must not be used for."""
_LIMITS = (
    "The images repeat what the generator learned from its training images, with their scanners, sites and "
    "populations, and with what it got wrong; rare appearances may be missing.",
    "The search for copies sees copies of whole images, also turned, mirrored, brighter or with some noise. "
    "It does not see copies of a small detail, and it gives no guarantee such as differential privacy does.",
)
_GENERATOR = {
    "family": "Family", "recipe": "Recipe", "run_id": "Run", "checkpoint": "Checkpoint",
    "weights_sha256": "SHA-256 of its weights", "seed": "Seed",
}  # fmt: skip


def card_sections(content: Mapping[str, Any]) -> list[Section]:
    """The sections of the card.

    Args:
        content: provenance.json.
    """
    return [
        _what(content), _how(content), Section("not-for", "What they must not be used for", [Notes(NOT_FOR)]),
        _audit(content), _quality(content), _limits(content), _licence(content), _verify(content),
    ]  # fmt: skip


def answers(content: Mapping[str, Any]) -> list[Card]:
    """Copies, quality and licence in a word each."""
    audit, quality = content["audit"], from_record(content["audit"]["quality"])
    objections = objections_of(content)
    if objections:
        copies = Card("Do they copy training images?", "Released in spite of the audit", objections[0], "bad")
    else:
        copies = Card(
            "Do they copy training images?", "No sign of copying", describe_copies(audit["copies"]), "good"
        )
    good = Card("Are the images good?", "Not measured", "No score says how good they are.")
    if quality is not None:
        tone = LEVEL_TONES[quality.level]
        good = Card("Are the images good?", LEVELS[quality.level], str(quality), tone)
    remarks = licence_remarks(content)
    licence = Card(
        "Under which licence?", content["licence"] or "Not stated",
        remarks[0] if remarks else "Nothing is known against sharing them.", "bad" if remarks else "good",
    )  # fmt: skip
    return [copies, good, licence]


def card_page(content: Mapping[str, Any], pictures: Sequence[Picture]) -> str:
    """The card as a page.

    Args:
        content: provenance.json.
        pictures: sheets of released images.
    """
    images = content["images"]
    samples = Section(
        "samples", "Examples", [Pictures(pictures, wide=True)], "Drawn at random, all synthetic."
    )
    return render_page(
        content["name"], f"{images['n']:,} synthetic images · {images['size']}×{images['size']} pixels",
        [samples, *card_sections(content)], answers(content), phantom=content["phantom"],
        stated_use=content["intended_use"],
    )  # fmt: skip


def refusal_page(name: str, objections: Sequence[str], score: Mapping[str, Any], folder: Path) -> str:
    """The page of a refusal, with the closest pairs; it shows real images and is not to be shared.

    Args:
        name: of the synthetic Dataset.
        objections: what speaks against the release, in words.
        score: score.json.
        folder: its folder, with copies.png.
    """
    copies = score["copies"]
    alt = "The closest pairs: synthetic images with their nearest training images"
    panel = from_file(folder / copies["panel"], alt, f"{alt}.")
    rows = [
        {
            "synthetic image": pair["synthetic_id"], "nearest training image": pair["train_id"],
            "distance": f"{pair['distance']:.3f}",
        }
        for pair in copies["suspects"][:40]
    ]  # fmt: skip
    words = ["nearest training image"]
    sections = [
        Section(
            "why", "Why they are not released",
            [Notes(objections), Text("This page shows real images. Do not share it.")],
        ),
        Section(
            "pairs", "The closest pairs",
            [
                Pictures([panel] if panel else [], wide=True),
                Table(rows, "Suspects, closest first", words=words),
            ],
            describe_copies(copies),
        ),
        Section("next", "What to do", [Notes([
            "Look at the pairs. Where they show the same picture, the generator has copied.",
            "Leave the copies out with 'plenish filter SYNTHETIC OUT --drop copies', and release the rest.",
            "Or train the generator anew: on more images, for a shorter time, or with another recipe.",
            "Where the pairs are alike for a reason that you can state, 'plenish release … --override "
            "\"reason\"' releases them, and the card tells the reason.",
        ])]),
    ]  # fmt: skip
    card = Card("May they be released?", "No", objections[0], "bad")
    return render_page(
        f"Not released: {name}", plural(copies["n"], "synthetic image"), sections, [card],
        phantom=score["real"]["phantom"],
    )  # fmt: skip


def objections_of(content: Mapping[str, Any]) -> list[str]:
    """What the audit said against the release, in words."""
    return [str(Objection(**one)) for one in content["audit"]["objections"]]


def licence_remarks(content: Mapping[str, Any]) -> list[str]:
    """What to know of the licences, in words."""
    return [str(LicenceRemark(**one)) for one in content["licence_remarks"]]


def _what(content: Mapping[str, Any]) -> Section:
    images, labels = content["images"], content["images"]["labels"]
    colour = "grey" if images["channels"] == 1 else "RGB"
    honest = not content["audit"]["objections"]
    lead = (
        f"{plural(images['n'], 'image')} of {images['size']}×{images['size']} pixels ({colour}), all made by "
        "a generator"
        + (". None is the image of a patient or specimen." if honest else "; some may repeat real ones.")
    )
    meaning = {
        "none": "none", "categorical": "one class an image: what was asked of the generator, not what an "
        "expert saw", "multilabel": "tags that were asked of the generator",
        "continuous": "values that were asked of the generator",
    }[labels["kind"]]  # fmt: skip
    facts = {"Labels": meaning, "Stated use": content["intended_use"] or "not stated"}
    if content["phantom"]:
        facts["Phantom"] = "the generator was trained on pictures drawn by a program, not on tissue"
    rows = [{"class": name, "images": count} for name, count in images["classes"].items()]
    return Section("what", "What it is", [Facts(facts), Table(rows)], lead)


def _how(content: Mapping[str, Any]) -> Section:
    generator, training = content["generator"], content["training"]
    made: dict[str, Any]
    if "name" in generator:
        made = {"Generator, as was stated": generator_words(generator)}
    else:
        made = {label: generator.get(key) for key, label in _GENERATOR.items()}
        other = {
            key: value for key, value in generator.items()
            if key not in (*_GENERATOR, "data", "space", "latents_sha256")
        }  # fmt: skip
        made["Options"] = other or None
        made["Latents"] = "given by a file" if "latents_sha256" in generator else None
    trained = {
        "Real images": training["name"] or "unknown", "Their licence": training["licence"] or "unknown",
        "Their hash": training["pixels_hash"], "Split": training["split"],
        "Hash of the split": training["split_hash"],
        "Trained on": training["n_train"] and f"{plural(training['n_train'], 'image')} of the train part",
        "Groups (patients, lesions, slides) in train": training["groups_train"],
    }  # fmt: skip
    filters = [
        f"{one['dropped']:,} of {one['of']:,} images were dropped by {', '.join(one['drop'])}"
        + (
            f"; at least {percent(one['pass_rate'], '.0f')} of real images pass each rule."
            if one["drop"] != ["copies"]
            else "."
        )
        for one in content["filters"]
    ]
    blocks: list[Block] = [
        Facts(made, "Generator"),
        Facts(trained, "Training data"),
        Notes(filters, "Filters"),
    ]
    return Section("how", "How they were made", blocks)


def _audit(content: Mapping[str, Any]) -> Section:
    audit, override = content["audit"], content["override"]
    blocks: list[Block] = [Notes(objections_of(content), "What speaks against a release")]
    if override:
        blocks.append(Text(f"They are released all the same, for this reason: {override}"))
    copies = audit["copies"]
    if copies is None:
        return Section(
            "audit", "Audit: are there copies of real images?", blocks, "They were not searched for copies."
        )
    if any("copies" in one["drop"] for one in content["filters"]):
        blocks.append(Text(
            "Suspects were dropped before this search: it says that none is left, not that the generator "
            "does not copy."
        ))  # fmt: skip
    share = with_interval(100 * copies["share_suspect"], 100 * copies["low"], 100 * copies["high"], ".1f")
    facts = {
        "Suspiciously close to one training image": f"{copies['n_suspect']:,} of {copies['n']:,}",
        "Share, % (95 % interval)": share,
        "Expected by chance": (
            f"{percent(copies['expected_share'])}, at most {percent(copies['expected_share_high'])}"
        ),
        "Identical to a training image": f"{copies['n_identical']:,}",
        "Calibrated on": f"{copies['n_holdout']:,} real images that the generator did not see",
        "Groups (patients, lesions, slides) among these": audit["groups_val"],
    }  # fmt: skip
    if said := describe_reidentification(copies.get("reidentification")):
        blocks.append(Text(said))
    return Section(
        "audit", "Audit: are there copies of real images?", [Facts(facts), *blocks], describe_copies(copies)
    )


def _quality(content: Mapping[str, Any]) -> Section:
    audit = content["audit"]
    quality = from_record(audit["quality"])
    said = [] if quality is None else [Text(f"{LEVELS[quality.level]}. {quality}")]
    rows = [
        {
            "score": row["name"], "of": row["scope"].removeprefix("class:"),
            "value": interval(row),
            "real against real": number(row["real_baseline"]), "images": f"{row['n_synthetic']:,}",
            "better": row["better"],
        }
        for row in map(comparable, audit["scores"])
    ]  # fmt: skip
    words = ["of", "value", "real against real", "images", "better"]
    blocks: list[Block] = [*said, Table(rows, "Scores against real test images", words=words)]
    return Section("quality", "Quality", blocks, "" if rows or said else "Not measured.")


def _limits(content: Mapping[str, Any]) -> Section:
    return Section("limits", "Limits", [Notes([*_LIMITS, *describe(content["audit"]["caveats"])])])


def _licence(content: Mapping[str, Any]) -> Section:
    facts = {
        "Released under": content["licence"] or "not stated",
        "Real images": content["training"]["licence"] or "unknown",
    }
    return Section("licence", "Licence", [Facts(facts), Notes(licence_remarks(content), "To know")])


def _verify(content: Mapping[str, Any]) -> Section:
    lead = (
        "provenance.json has the SHA-256 of every other file, and croissant.json describes the table for "
        f"loaders. Made by Plenish {content['plenish']} on {content['made']}."
    )
    return Section("files", "Files", [Code(["plenish release --check ."])], lead)
