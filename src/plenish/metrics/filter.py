"""What `plenish filter` is asked, and what it did, as the terminal shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from plenish.configuration import option
from plenish.errors import InputError
from plenish.metrics.caveats import FEW_GROUPS
from plenish.metrics.result_files import Result
from plenish.metrics.words import interval, number, percent
from plenish.wording import Sentences, plural

Rule = Literal["copies", "low-label-agreement", "low-density"]


@dataclass(frozen=True)
class FilterConfig:
    """Which images are dropped.

    Attributes:
        drop: what to drop, one or several: copies (images suspiciously close to one training image),
            low-label-agreement (a linear classifier fitted on the real train part does not see the label
            asked for), low-density (far from all real training images).
        split: the split of the real Dataset; by default the one the generator was trained on.
        pass_rate: the share of real val images that passes low-label-agreement, and low-density; the higher,
            the fewer images are dropped. Copies are dropped by the threshold of 'plenish score'.
        seed: seed of the domain extractor, the classifiers and the resamples.
        resamples: bootstrap resamples behind the intervals of the report; 0 for none.
    """

    drop: tuple[Rule, ...] = option(("copies",), adds=True)
    split: str = ""
    pass_rate: float = option(0.95, least=0.5, below=1)
    seed: int = 0
    resamples: int = option(200, least=0)

    def __post_init__(self) -> None:
        if not self.drop:
            raise InputError("--drop needs copies, low-label-agreement or low-density, one or several.")


@dataclass(frozen=True)
class Filtered(Result):
    """What `plenish filter` did; its content is filter.json."""

    def summary(self) -> dict[str, Any]:
        """What was dropped, by rule and class, and what that did to the images that are left."""
        content = self.content
        return {
            "out": str(self.path), "kept": f"{content['kept']:,} of {content['n']:,} images",
            "dropped": dropped_rows(content), "effect": effect_rows(content),
            **({"to_know": Sentences(remarks(content))} if remarks(content) else {}),
            "report": str(self.report) if self.report else None,
        }  # fmt: skip


def dropped_rows(content: Any) -> list[dict[str, str]]:
    """A row for each rule and class, and for all of them."""
    return [
        {
            "rule": row["rule"], "class": row["class"], "images": f"{row['n']:,}",
            "dropped": f"{row['dropped']:,} ({percent(row['share'])})",
            "expected of real ones": percent(row["expected"]),
        }
        for row in content["dropped"]
    ]  # fmt: skip


def effect_rows(content: Any) -> list[dict[str, str]]:
    """A row for each measure: before, after, and of as many images taken at random."""
    return [
        {
            "measure": row["name"],
            **{
                side: interval(row[key])
                for key, side in (("before", "before"), ("after", "after"), ("random", "as many at random"))
            },
            **({"real": number(row["real"])} if row["real"] is not None else {"real": "–"}),
            "better": row["better"],
        }
        for row in content["effect"]
    ]  # fmt: skip


def remarks(content: Any) -> list[str]:
    """What limits the result."""
    said = []
    if gone := [one for one, n in content["classes_kept"].items() if not n]:
        said.append(f"No image is left of {', '.join(gone)}.")
    if content["pooled"]:
        said.append(
            f"Too few val images of {', '.join(content['pooled'])} for a threshold of their own: that of all "
            "classes was taken."
        )
    if (groups := content["real"]["groups_val"]) < FEW_GROUPS:
        said.append(
            f"The val images come from {plural(groups, 'group')}"
            if groups
            else "The val images have no groups"
        )
        said[-1] += ": of images of new groups, the rules may drop several times the share that is expected."
    if not content["effect"]:
        said.append("Too few images to measure what the filter does to variety.")
    return said
