"""What `plenish score` is asked, and what it found, as the terminal shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from plenish.configuration import option
from plenish.metrics.advice import LEVELS
from plenish.metrics.caveats import describe
from plenish.metrics.likeness_words import describe_labels, describe_told_apart
from plenish.metrics.quality import from_record
from plenish.metrics.result_files import Result
from plenish.metrics.words import comparable, describe_copies, describe_pointing, is_known, number
from plenish.wording import times

TellApart = Literal["linear", "network", "none"]


@dataclass(frozen=True)
class ScoreConfig:
    """How to compare.

    Attributes:
        split: name of the split of the real Dataset.
        features: domain is a small network fitted on the real train part and needs no network connection;
            inception (FID) and dinov2 are pretrained and are downloaded on first use.
        weights: local weights file for inception or dinov2.
        seed: seed of the domain extractor, of resamples and of the baseline's draw.
        resamples: bootstrap resamples behind the intervals; 0 for none.
        tell_apart: what tries to tell the images from real ones: a linear classifier on features and
            statistics of noise and sharpness, which takes a second; a small network, which takes up to a
            minute on two cores; or none.
    """

    split: str = "default"
    features: Literal["domain", "inception", "dinov2"] = "domain"
    weights: Path | None = None
    seed: int = 0
    resamples: int = option(200, least=0)
    tell_apart: TellApart = "linear"


@dataclass(frozen=True)
class ScoreResult(Result):
    """What `plenish score` found; its content is score.json."""

    def summary(self) -> dict[str, Any]:
        """The table of scores, the search for copies, what limits them and where the report is."""
        content, caveats = self.content, describe(self.content["caveats"])
        quality = from_record(content.get("quality"))
        pointing = content["copies"]["reidentification"]
        kind = "synthetic" if content["synthetic"]["origin"] == "synthetic" else "other"
        baseline = {"compared": "real images with real images: a baseline, not a generator's scores"}
        return {
            **(baseline if content["synthetic"]["origin"] == "real" else {}),
            "scores": [_shown(row) for row in content["scores"]],
            **({"images": LEVELS[quality.level], "figures": str(quality)} if quality is not None else {}),
            "extractor": f"{content['extractor']['name']}: {content['extractor']['task']}",
            **({"told_apart": describe_told_apart(apart)} if (apart := content["told_apart"]) else {}),
            **({"labels": describe_labels(labels, kind)} if (labels := content["labels"]) else {}),
            "copies": describe_copies(content["copies"]),
            **({"reidentification": _pointing(pointing)} if pointing else {}),
            "test_part_read": f"{times(content['test_reads'])} so far",
            **({"caveats": caveats} if caveats else {}),
            "score": str(self.path), "report": str(self.report) if self.report else None,
        }  # fmt: skip


def _pointing(found: Mapping[str, Any]) -> str:
    """Whether images point at one training group."""
    more = "more than chance explains" if found["finding"] == "more" else "no more than chance explains"
    return f"{describe_pointing(found)}: {more}."


def _shown(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of the terminal's table."""
    fair = comparable(row)
    return {
        "scope": row["scope"], "score": row["name"], "value": number(fair["value"]),
        "of real": number(row["real_baseline"]), "difference, 95 %": _difference(row),
        "better": row["better"],
    }  # fmt: skip


def _difference(row: Mapping[str, Any]) -> str:
    """The interval of what it is above the score of real images in their place."""
    excess = row["excess"]
    if excess is None or not is_known(excess["low"]):
        return "none"
    return f"{number(excess['low'], 2)} to {number(excess['high'], 2)}"
