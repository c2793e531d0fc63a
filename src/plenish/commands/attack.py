"""`plenish attack`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from plenish import settings
from plenish.errors import CheckFailed
from plenish.invocation import command
from plenish.metrics.caveats import describe
from plenish.metrics.result_files import Result
from plenish.report.attack_options import AttackOptions
from plenish.report.attack_words import finding, flag_words, held, rows_of_worst, worst_at
from plenish.robustness.evaluation_config import EvaluationConfig
from plenish.terminal import json_text, write
from plenish.wording import Sentences


@dataclasses.dataclass(frozen=True)
class Attacked(Result):
    """What `plenish attack` found; what is said of it first is of the radius `at`, by default the largest."""

    at: float | None = None

    def summary(self) -> dict[str, object]:
        """Right answers over eps, and the checks that failed."""
        content = self.content
        failed = [flag for flag in content["flags"] if flag["status"] == "failed"]
        facts: dict[str, object] = {
            "images": content["data"]["images"], "groups": content["data"].get("groups"),
            "clean_accuracy": content["clean"]["accuracy"][0], "worst_case": rows_of_worst(content),
            "found": f"{held(content, worst_at(content, self.at))}.",
            "checks": {flag["name"]: flag["status"] for flag in content["flags"]},
        }  # fmt: skip
        if failed:
            facts["failed"] = Sentences(
                f"{finding(flag)}. {flag_words(flag['name']).advice}" for flag in failed
            )
        if caveats := describe(content.get("caveats", ())):
            facts["caveats"] = caveats
        return facts | {"report": str(self.report), "sarif": str(self.path / "attack.sarif")}


@command("attack")
def attack(
    run: str, data: Path, *, out: Path = Path("attack"), how: EvaluationConfig, options: AttackOptions,
) -> Attacked:  # fmt: skip
    """Attack a classifier's images, and measure what it still answers right.

    RUN is a classifier's Run, timm:NAME with --weights, or a file of ONNX (.onnx), TorchScript (.pt) or
    torch.export (.pt2). Every image that is answered right is attacked by all attacks at every eps; what
    counts is the worst case of each image. OUT gets attack.json, attack.html, attack.sarif for code hosts,
    examples.parquet with a row an image, and gallery.npz. Checks say whether the attacks were hindered. The
    result is what the attacks that were tried leave, never a proof that others fail.

    Args:
        run: the classifier.
        data: the Dataset, with the classifier's classes.
        out: folder to make.
        how: how to attack; where the same command has done so, the result that is there is given again.
        options: further options.

    Returns:
        What was found.

    Raises:
        InputError: there is no such classifier, it does not fit the Dataset, or OUT exists.
        CheckFailed: less is right under attack than --fail-under asks for; everything was written.
    """
    from plenish.report.attacking import attack_with_page

    found = attack_with_page(run, data, out, how, options)
    result = Attacked(out, found.content, found.page, found.gate.eps)
    if found.gate.failed:
        if settings.current().json:  # What a program reads although the command fails.
            write(json_text(result.summary()))
        raise CheckFailed(found.sentence)
    return result
