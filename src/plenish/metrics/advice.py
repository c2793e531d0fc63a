"""What to do next with a generator, by how good it is and how its training went."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from plenish.metrics.quality import NEAR_LEAST, Level, Quality, from_line, kimg_of, of_run
from plenish.runs import Run
from plenish.wording import Message

LEVELS: Mapping[Level, str] = {
    "undertrained": "Not yet: undertrained", "usable": "Usable, but not like real ones",
    "near": "Near the real ones",
}  # fmt: skip
"""The levels in words."""
_STILL_IMPROVING = 0.5
"""A best checkpoint before this share of the training means that going on has not helped for as long again.
Later ones differ by little more than the noise of a small val part."""
_LEAST_KIMG, _LEAST_SCORED = 100.0, 4
"""Length and scored checkpoints below which a training says nothing of its recipe: no generator of
docs/generators.md was usable before."""


class Advice(Message):
    """What to do next with a generator."""

    words: ClassVar[Mapping[str, str | Callable[..., str]]] = {
        "resume": (
            "Train on: only {kimg:.4g} of the {planned:.4g} kimg asked for were shown. The same command "
            "again resumes."
        ),
        "diverged": (
            "Retry: the training diverged at {kimg:.4g} kimg. The same command with --retry goes on from the "
            "last good checkpoint with other random draws; if that diverges, too, start a new Run with a "
            "lower --lr or a larger --batch."
        ),
        "longer": "Train longer: the same command with {option} {value:g} goes on from the last checkpoint.",
        "longer-unknown": "Train longer: then generate, score and study again.",
        "otherwise": (
            "Try another recipe: the best checkpoint is from {kimg:.4g} of {shown:.4g} kimg, so going on "
            "has not helped. 'plenish recipe list' shows them; more images help, too."
        ),
        "judge": (
            "Test or improve them: 'plenish score' and 'plenish study' say whether they serve. {more}"
        ),
        "studied": "{said} {more}",
        "use": (
            "Use them with care: add them to real images where 'plenish study' shows that they help, and "
            "only if 'plenish score' finds no copies of training images."
        ),
        "more-images": (
            "Compare more images: only {n:.0f} a side were compared, and fewer than {least} are never called "
            "near the real ones. 'plenish generate -n' makes more; half of the train part is the most that "
            "are compared."
        ),
        "measure": (
            "Measure it: 'plenish score' compares its images with real ones; training with a val part does "
            "so at every checkpoint."
        ),
    }  # fmt: skip


def remarks(run: Run) -> dict[str, str]:
    """What is said of a Run of a generator: how good its best checkpoint is, by which figures, what next."""
    quality = of_run(run)
    if run.kind != "generator":
        return {}
    said = {"images": LEVELS[quality.level], "figures": str(quality)} if quality is not None else {}
    return {**said, "next": str(advice(quality, run))}


def advice(quality: Quality | None, run: Run | None = None, *, studied: str | None = None) -> Advice:
    """What to do next.

    Args:
        quality: how far the generator is, if that was measured.
        run: its Run, if it is there.
        studied: what a study of these images recommends, a sentence; it takes the place of advice to study.
    """
    diverged = run is not None and run.state == "diverged"
    if quality is None and not diverged:
        return Advice("measure")
    if quality is None:
        return _training_advice(None, run)
    if quality.level == "near":
        return Advice("use") if studied is None else Advice("studied", {"said": studied, "more": ""})
    if quality.is_too_few and not diverged:
        return Advice("more-images", {"n": quality.n, "least": NEAR_LEAST})
    train = _training_advice(quality, run)
    if quality.level == "undertrained":
        return train
    if studied is not None:
        return Advice("studied", {"said": studied, "more": str(train)})
    return Advice("judge", {"more": str(train)})


def _training_advice(quality: Quality | None, run: Run | None) -> Advice:
    """How to train a generator that is not near the real ones."""
    if run is None:
        return Advice("longer-unknown")
    status, config = run.status, run.config["config"]
    shown = float(status.get("kimg") or 0)
    schedule = {**(config.get("schedule") or {}), **(status.get("schedule") or {})}
    planned = float(schedule.get("kimg") or shown)
    if run.state == "diverged":
        return Advice("diverged", {"kimg": shown})
    if run.state != "complete" and shown < planned:
        return Advice("resume", {"kimg": shown, "planned": planned})
    best = kimg_of((status.get("best") or {}).get("checkpoint")) or shown
    says_much = shown >= _LEAST_KIMG and _scored(run) >= _LEAST_SCORED
    if says_much and best < _STILL_IMPROVING * shown and not (quality is not None and quality.is_absurd):
        return Advice("otherwise", {"kimg": best, "shown": shown})
    option, now = ("--hours", config["hours"]) if config.get("hours") else ("--kimg", planned)
    factor = 4 if quality is not None and quality.level == "undertrained" else 2
    return Advice("longer", {"option": option, "value": float(f"{factor * now:.2g}")})


def _scored(run: Run) -> int:
    """How many checkpoints were scored."""
    return sum(from_line(line) is not None for _, line in run.logged())
