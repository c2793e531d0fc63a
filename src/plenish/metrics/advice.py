"""What to do next with a generator, by how good it is and how its training went."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from plenish.metrics.quality import Level, Quality, kimg_of, of_run
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


class Advice(Message):
    """What to do next with a generator."""

    words: ClassVar[Mapping[str, str | Callable[..., str]]] = {
        "resume": (
            "Train on: only {kimg:.4g} of the {planned:.4g} kimg asked for were shown. The same command "
            "again resumes."
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
        "use": (
            "Use them with care: where a study shows that they help, and a search finds no copies."
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


def advice(quality: Quality | None, run: Run | None = None) -> Advice:
    """What to do next.

    Args:
        quality: how far the generator is, if that was measured.
        run: its Run, if it is there.
    """
    if quality is None:
        return Advice("measure")
    if quality.level == "near":
        return Advice("use")
    train = _training_advice(quality, run)
    return train if quality.level == "undertrained" else Advice("judge", {"more": str(train)})


def _training_advice(quality: Quality, run: Run | None) -> Advice:
    """How to train a generator that is not near the real ones."""
    if run is None:
        return Advice("longer-unknown")
    status, config = run.status, run.config["config"]
    shown = float(status.get("kimg") or 0)
    schedule = {**(config.get("schedule") or {}), **(status.get("schedule") or {})}
    planned = float(schedule.get("kimg") or shown)
    if run.state != "complete" and shown < planned:
        return Advice("resume", {"kimg": shown, "planned": planned})
    best = kimg_of((status.get("best") or {}).get("checkpoint")) or shown
    if shown and best < _STILL_IMPROVING * shown:
        return Advice("otherwise", {"kimg": best, "shown": shown})
    option, now = ("--hours", config["hours"]) if config.get("hours") else ("--kimg", planned)
    factor = 4 if quality.level == "undertrained" else 2
    return Advice("longer", {"option": option, "value": float(f"{factor * now:.2g}")})
