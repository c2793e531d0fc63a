"""What limits a result: a code and its values, and the words for each code.

score.json, study.json and autoencoders.json keep the records; the terminal and the report show the words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from plenish.metrics.resampling import Ints, unit_codes
from plenish.metrics.words import percent
from plenish.wording import Message, Sentences, plural

FEW_GROUPS, FEW_SEEDS, FEW_ROWS = 12, 5, 30
"""Fewer test groups, seeds and test images of a class than these are a caveat."""


def _few_groups(groups: int, intervals: bool) -> str:
    text = f"There are only {plural(groups, 'group')}"
    if groups == 1:
        return (
            f"{text}, which says nothing about how results vary between groups, so there are no intervals; "
            "make a split with more groups in test."
        )
    if not intervals:
        return f"{text}: results may differ for other groups."
    return (
        f"{text} (fewer than {FEW_GROUPS}): intervals are rough, may be too narrow, and describe only groups "
        "like these."
    )


def _no_groups(intervals: bool) -> str:
    text = "The images have no groups (patients, slides)"
    dependent = (
        ": intervals treat every image as independent and are too narrow if several images come from one "
        "patient. They"
    )
    return f"{text}{dependent if intervals else ': results'} say nothing about new patients or sites."


def _few_seeds(seeds: int, intervals: bool) -> str:
    text = f"{plural(seeds, 'seed')} per arm"
    if seeds == 1:
        return f"{text}: the variation between trainings is unknown, so there are no intervals."
    if not intervals:
        return f"{text} (fewer than {FEW_SEEDS}): the variation between trainings is poorly known."
    return (
        f"{text} (fewer than {FEW_SEEDS}): the variation between trainings is poorly known, so intervals are "
        "wide and small effects are not detected."
    )


def _primary(arm: str, others: int, adjusted: bool) -> str:
    text = f"The primary comparison, fixed in advance, is {arm} against real"
    if adjusted:
        return (
            f"{text}; verdicts on the other {plural(others, 'arm')} are adjusted for their number (Holm), "
            "their intervals are not."
        )
    return f"{text}; {'the other arm is' if others == 1 else 'the other arms are'} exploratory."


def _looks(looks: Sequence[Mapping[str, int]], intervals: bool) -> str:
    shown = ", then ".join(
        f"{plural(look['arms'], 'arm')} × {plural(look['seeds'], 'seed')}" for look in looks
    )
    promise = ", so intervals and p-values are too optimistic" if intervals else ""
    return (
        f"The study was extended after a verdict was shown ({shown}): the decision to extend may depend on "
        f"that verdict{promise}."
    )


def _fewer_images_than_features(scopes: Mapping[str, int], features: int) -> str:
    counts = ", ".join(f"{scope_name(scope)} {images}" for scope, images in scopes.items())
    return (
        f"Fewer images than the {features} features ({counts}): the Fréchet distance is biased upwards. "
        "Compare it with the real baseline or use KID."
    )


_NO_ATTACK = (
    "No attack was made: random noise is a control, which a classifier that is not robust mostly withstands "
    "too, so these numbers say nothing about attacks; add some, such as pgd."
)
_UNDERTRAINED = {
    "copies": "that its images are far from training images says little about a better one, which can copy",
    "study": "whether its images help a classifier says little about the images of a better one",
}


def undertrained(figures: Mapping[str, float]) -> str:
    """Shares of what real images reach, in brackets behind a generator that is undertrained."""
    shares = ", ".join(f"{name} {percent(share, '.0f')}" for name, share in figures.items())
    return f"of what real images reach, {shares}"


def scope_name(scope: str) -> str:
    """`overall`, or `class` and its name, of a score's scope."""
    return scope.replace("class:", "class ", 1)


def _unknown_origin(stated: str = "") -> str:
    text = "It is unknown what the generator was trained on"
    if stated:
        text = f"The generator is said to have been trained on '{stated}', which cannot be checked here"
    return f"{text}; it may have seen test images, and results on them may then be too good."


class Caveat(Message):
    """Something that limits a result; `source` among its values is the generator that it is said of."""

    words: ClassVar[Mapping[str, str | Callable[..., str]]] = {
        "some-without-group": (
            "{images} of {of} test images have no group; each counts as a group of its own."
        ),
        "mixed-groups": (
            "{mixed} of {groups:group/contain/contain} images of several classes; in results by group, the "
            "images of each class of such a group count as one unit."
        ),
        "one-fold": "The split is one fold of several; nothing here covers the choice of the fold.",
        "held-out-folds": (
            "The {folds} folds are of the groups that the split '{split}' holds out ({groups}): each is "
            "tested once by classifiers of the same train part, which the generator knew. Intervals do not "
            "cover the choice of that part."
        ),
        "folds": (
            "Every group is tested once, by the classifiers of one of {folds} folds, whose train parts "
            "overlap; intervals cover groups and seeds, not another division into folds."
        ),
        "checkpoint-by-tested": (
            "The generator's checkpoint was chosen by val images, whose groups are tested too: results on "
            "them may be a little too good."
        ),
        "test-twins": (
            "{images:test image/shows/show} the picture of a train image (the same pixels, mirrored, turned, "
            "brighter, or compressed again): results on such images are too good. "
            "'plenish split --name NEW' keeps them in one part."
        ),
        "fold-ensemble": (
            "On the other Dataset, a seed's prediction is the mean of its {folds} classifiers, one of each "
            "fold."
        ),
        "fewer-synthetic": (
            "{arm} had {got:,} synthetic images instead of {asked:,}: there are no more of some class."
        ),
        "equal-steps": (
            "All arms train for the same number of steps: with more images, each is seen less often."
        ),
        "unknown-origin": _unknown_origin,
        "unknown-training-images": (
            "The generator's training images are unknown: its images are compared with the train and test "
            "images of {name} alone, and copies of any others are not found."
        ),
        "few-generated": (
            "{images:generated image/is/are} there for the {wanted:,} of each batch: some are shown more "
            "than once in a batch and may be memorised."
        ),
        "generated-without": lambda classes, share: (
            f"There are no generated images of {', '.join(classes)}, and generated ones make up "
            f"{percent(share, '.0f')} of each batch: only real images of such a class are shown."
        ),
        "copied-pixels": "{images:training image/is/are} among the synthetic images, pixel for pixel.",
        "baseline": "{name} contains real images; its scores are a baseline, not those of a generator.",
        "shared-images": "{images:image/is/are} in both Datasets, pixel for pixel: the scores are too good.",
        "near-held-out": (
            "{images:image/shows/show} the picture of a {part} image (mirrored, turned, brighter, compressed "
            "again or changed by some bits): the generator may have seen it, so scores may be too good."
        ),
        "generated-test": lambda intervals: (
            "Accuracy on generated images is not accuracy on patients: it says how far a classifier's "
            "classes are those that the generator was asked for, whether or not these are right."
            + (" Intervals count these images and the seeds, not other generators." if intervals else "")
        ),
        "generated-test-near": (
            "{images:generated test image/shows/show} the picture of {of} (mirrored, turned, brighter, "
            "compressed again or changed by some bits): the generator repeats itself or its training images, "
            "and accuracy on generated images may be too high."
        ),
        "attacks-tried": lambda attacks, steps: (
            _NO_ATTACK
            if list(attacks) == ["noise"]
            else "A right answer under attack means that no attack tried succeeded. Tried were "
            f"{', '.join(attacks)} ({plural(steps, 'step')} each); others may find more, so that robust "
            "accuracy is at most what is shown."
        ),
        "reads-lost": (
            "The record of readings of the test part was removed or altered: it was read at least as often "
            "as is said."
        ),
        "other-labels": "The two Datasets have different labels, so there are no scores per class.",
        "class-shares": (
            "Class shares of the {kind} images and the test images differ; use the scores per class."
        ),
        "calibrated-on-test": (
            "The split has no val images, so the search for copies is calibrated on test."
        ),
        "held-out-twins": "{images:held-out image/is/are} also in train; see plenish profile.",
        "score-scope": (
            "Scores depend on the feature extractor and on the number of images; compare them only with "
            "values of the same extractor at the same numbers, such as the real-against-real baseline. "
            "Intervals of the Fréchet distance and MIND are of the value at these numbers, which is above "
            "that of the populations."
        ),
        "copies-scope": (
            "The search for copies finds near-duplicates under one distance. Finding none is no proof of "
            "privacy."
        ),
        "few-groups": _few_groups,
        "no-groups": _no_groups,
        "few-images": lambda counts: (
            f"Few images in some classes: {', '.join(f'{n} of {name}' for name, n in counts.items())}."
        ),
        "no-images": lambda classes: f"No test images, left out of averages: {', '.join(classes)}.",
        "few-seeds": _few_seeds,
        "primary": _primary,
        "looks": _looks,
        "cut-intervals": lambda arms: (
            f"Intervals of the differences of {', '.join(arms)} reached beyond −1 or 1, which no difference "
            "can, and were cut there: there are too few seeds or test images to estimate the size of the "
            "effect."
        ),
        "one-generator": lambda intervals: (
            "The result is for these synthetic images"
            + (": intervals do not cover training the generator again." if intervals else " only.")
        ),
        "generator-saw-more": lambda fraction: (
            f"The classifiers saw {percent(fraction, '.0f')} of the real training groups, but the generator "
            "may have seen all of them, which favours the synthetic arms."
        ),
        "too-few-images": lambda scope, real, other, kind: (
            f"Not scored: {scope_name(scope)} ({plural(real, 'test image')}, "
            f"{plural(other, f'{kind} image')})."
        ),
        "few-held-out": lambda images: (
            f"The search for copies is calibrated on only {plural(images, 'held-out image')}."
        ),
        "few-held-out-groups": lambda groups: (
            f"The search for copies is calibrated on only {plural(groups, 'held-out group')} (fewer than "
            f"{FEW_GROUPS}): a few copies that are much altered may pass."
        ),
        "fewer-images-than-features": _fewer_images_than_features,
        "undertrained": lambda of, **figures: (
            f"The generator is undertrained ({undertrained(figures)}): {_UNDERTRAINED[of]}."
        ),
        "one-class": "How good the images are is told of class {name} alone: no other was asked for.",
        "classes-not-made": lambda classes: (
            f"No images of {', '.join(classes)}: in how good the images are, recall and coverage of "
            f"{'this class' if len(classes) == 1 else 'these classes'} count as 0."
        ),
        "classes-together": lambda classes: (
            f"Too few images of a class: in how good the images are, {', '.join(classes)} are measured "
            "together, so bad images of one of them can go unnoticed."
        ),
        "few-to-judge": lambda images, least: (
            f"How good the images are rests on {images:,.0f} a side; fewer than {least} are never called "
            "near the real ones."
        ),
        "too-few-tiles": lambda tiles, least, of, name: (
            f"{plural(tiles, 'tile')} cannot turn the slide: at least {least:,} of {of:,} must change, even "
            f"if each became {name} with certainty; give more --tiles."
        ),
        "perhaps-too-few-tiles": lambda tiles, name, confidence, least: (
            f"{plural(tiles, 'tile')} may not turn the slide: where each becomes {name} with a probability "
            f"of {confidence:g}, " + (f"{least:,} are needed." if least else "all its tiles are too few.")
        ),
        "tiles-inverted": lambda tiles, mse, flat_mse, same: (
            f"What is turned is the nearest image that the generator makes of a tile, not the tile. Mean "
            f"squared error of these inversions: {mse:.2g} in the median, where one flat colour has "
            f"{flat_mse:.2g}; the classifier gives {same:,} of {tiles:,} the class of their tile."
        ),
        "inversions-move": lambda name, inverted, turned: (
            f"Replacing the same tiles by their inversions alone moves the slide's mean of {name} by "
            f"{inverted:+.3f}; turning them moves it by {turned:+.3f}. The difference is what the change "
            "does."
        ),
        "inversions-already": (
            "{tiles:tile/is/are} {name} by inversion alone and not counted as turned: there the generator "
            "lost what the classifier goes by."
        ),
        "tiles-alone": (
            "Each tile is changed by itself: it no longer fits its neighbours, and the slide as changed was "
            "never seen by anyone."
        ),
        "turned-not-caused": (
            "The smallest change that turns this classifier through this generator is neither the reason for "
            "its answer nor what a disease does."
        ),
        "generator-saw-slide": (
            "{tiles:tile/was/were} trained on by the generator that came from a slide of this name; if it is "
            "this one, its tiles are inverted better than another slide's would be."
        ),
        "generator-other-scale": (
            "The generator was trained on tiles of {generator:.3g} µm per pixel and these have {tiles:.3g}: "
            "what it draws is of another size."
        ),
        "generator-scale-unknown": (
            "At which scale the generator's training images were taken is not known; if it is another than "
            "that of these tiles, what it draws is of another size."
        ),
        "generator-other-stain": (
            "Of the generator's training tiles and these, one have a normalised stain and the others not."
        ),
        "some-images": (
            "{images:,} of {of:,} images were attacked: a random choice, with the classes in proportion."
        ),
        "attacked-known-part": lambda part: (
            "The classifier was trained on these images; others may withstand less."
            if part == "train"
            else "The classifier's checkpoint was chosen by val images; on them it may look a little "
            "better than it is."
        ),
        "training-mode": (
            "The classifier was attacked in training mode, where dropout draws at random and batch "
            "normalisation depends on the batch; call eval() first."
        ),
        "assumed-input": (
            "The file does not say how its images are normalised, so it was given values in [0, 1] as they "
            "are; --mean and --std change that."
        ),
        "not-differentiable": lambda why, attacks: (
            f"No gradients could be computed ({why}), so only attacks without them were made"
            + (f" and {', '.join(attacks)} left out" if attacks else "")
            + ": what they find is far from the worst case."
        ),
        "controls-alone": _NO_ATTACK,
        "clean-near-chance": lambda accuracy, chance: (
            f"Without any attack {percent(accuracy, '.0f')} are right, no more than by chance "
            f"({percent(chance, '.0f')}): images may be normalised in another way, or the classes in another "
            "order."
        ),
        "study-scope": lambda intervals: (
            ("The study's intervals cover the choice of test images and of seeds. They" if intervals
             else "The study's numbers")
            + " say nothing about another scanner, laboratory, population or classifier."
        ),
    }  # fmt: skip

    def __str__(self) -> str:
        """Its words, behind the generator they are said of."""
        values = dict(self.values)
        if "source" not in values:
            return super().__str__()
        return f"{values.pop('source')}: {dataclasses.replace(self, values=values)}"


def describe(caveats: Iterable[Mapping[str, Any]]) -> Sentences:
    """The caveats of a result file in words."""
    return Sentences(str(Caveat(**caveat)) for caveat in caveats)


def about_groups(units: int, *, intervals: bool) -> list[Caveat]:
    """The caveat of few test groups, if they are few.

    Args:
        units: how many there are; 0 where images have none.
        intervals: whether the results have intervals.
    """
    return [Caveat("few-groups", {"groups": units, "intervals": intervals})] if 0 < units < FEW_GROUPS else []


def about_test(
    codes: Ints, groups: Sequence[Hashable | None], names: Sequence[str], *, intervals: bool = True
) -> list[Caveat]:
    """Limits that the test images set.

    Args:
        codes: N class numbers.
        groups: N group names; None for an image without one.
        names: class names.
        intervals: whether the results have intervals.
    """
    grouped = sum(group is not None for group in groups)
    found = []
    if grouped:
        found += about_groups(int(unit_codes(groups, len(codes)).max()) + 1, intervals=intervals)
        if grouped < len(codes):
            found.append(Caveat("some-without-group", {"images": len(codes) - grouped, "of": len(codes)}))
    else:
        found.append(Caveat("no-groups", {"intervals": intervals}))
    counts = dict(zip(names, np.bincount(codes, minlength=len(names)).tolist()))
    few = {name: count for name, count in counts.items() if 0 < count < FEW_ROWS}
    none = [name for name, count in counts.items() if not count]
    found += [Caveat("few-images", {"counts": few})] if few else []
    return found + ([Caveat("no-images", {"classes": none})] if none else [])
