"""Generators at equal time: recipes trained for so many seconds, judged by what another Dataset taught.

    python -m benchmarks.equal_compute DATA JUDGE --recipes flow-small small-stylegan2 --seconds 60 300
        [--seeds 0 1 2] [-n 1000] [--options SECTION.NAME=VALUE …] [--samplers NAME=VALUE,NAME=VALUE …]
        [--out FILE.jsonl] [--pictures FOLDER]

Features and the label classifier come from JUDGE, a Dataset of other patients, so that no generator is
rewarded for copying. FD and KID are to the val and test parts of DATA; `label` is the share of samples that
the classifier of JUDGE gives the label asked for; CAS is the balanced accuracy, on the val and test parts, of
a classifier trained on samples alone; `copies` is the share of samples suspected by the search for copies,
with the share that chance allows. Each of `--samplers` is one way of sampling, its options; without any the
family's own. Only the training counts as time. Each line is written as it is known.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.race import describe_machine
from plenish.commands.generate import assignments
from plenish.commands.train_generator import GeneratorOptions
from plenish.configuration import overrides
from plenish.datasets.batches import Images
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.latent.sampling import checked_options
from plenish.metrics.copies import Search, Views, thumbnails
from plenish.metrics.features import domain_extractor
from plenish.metrics.fidelity import frechet_distance, kid
from plenish.recipes import load_recipe
from plenish.training.classifier import train_classifier
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import Classifier
from plenish.training.engine import Engine, stable_seed
from plenish.training.generator import GeneratorLearner, learner_class, plan_task
from plenish.training.learner import Clock
from plenish.training.logs import sample_grid

Pixels = NDArray[np.uint8]


class Contestant:
    """A recipe in training, whose time can be stopped and started."""

    def __init__(self, recipe: str, data: Dataset, seed: int, options: list[str]) -> None:
        found = load_recipe(recipe, "generator")
        changes = overrides(GeneratorOptions(options=options), found.sections, "training.lr=1e-3")
        self.train = data.part("train", purpose="train")
        task = plan_task(found.family, found.sections, changes, self.train)
        torch.manual_seed(stable_seed(seed, "weights"))
        self.learner: GeneratorLearner = learner_class(found.family)(task)
        self.learner.set_stage(0)
        self.seed, self.nimg, self.steps, self.seconds = seed, 0, 0, 0.0
        self._batches = Images.of(self.train).batches(self.learner.batch_size, seed=seed)

    def run_until(self, seconds: float) -> None:
        """Train until so many seconds were spent in all."""
        start = time.perf_counter() - self.seconds
        while (spent := time.perf_counter() - start) < seconds:
            batch = next(self._batches)
            self.learner.step(batch, Clock(self.seed, 0, self.nimg, self.steps))
            self.nimg, self.steps = self.nimg + batch.total, self.steps + 1
            self.learner.set_stage(self.nimg)
        self.seconds = spent

    def samples(self, n: int, options: dict[str, Any]) -> tuple[Pixels, NDArray[np.int64], float]:
        """Samples with the labels of training rows, these, and seconds."""
        clock = Clock(self.seed, 0, self.nimg, self.steps)
        self.learner.before_save(clock)
        start = time.perf_counter()
        images = self.learner.sample_images(clock, n, **checked_options(self.learner.sampler, options))
        codes = self.train.codes[self.learner.fixed_rows(clock, n)]
        return images, codes, time.perf_counter() - start


class Judge:
    """What another Dataset taught: features and a classifier."""

    def __init__(self, data: Dataset, judge: Dataset, steps: int) -> None:
        if judge.labels != data.labels or judge.size != data.size:
            raise SystemExit(f"{judge.path} has other labels or another size than {data.path}")
        self.extract = domain_extractor(judge, seed=0)
        self.names = data.labels.names
        self.steps = steps
        self.held = [data.part(part, purpose="score") for part in ("val", "test")]
        self.pixels = np.concatenate([_images(part) for part in self.held])
        self.codes = np.concatenate([part.codes for part in self.held])
        self.features = self.extract(self.pixels)
        train = _images(data.part("train", purpose="train"))
        self.find_copies = Search(self._views(_images(self.held[0])), self._views(train))
        taught = [judge.part(part, purpose="select") for part in ("train", "val")]
        known, chosen = (_labelled(_images(part), part.codes) for part in taught)
        self.classifier = self._train(known, chosen)
        self.real = self.cas(train, data.part("train", purpose="train").codes, 0)

    def _views(self, pixels: Pixels) -> Views:
        return Views(thumbnails(pixels), self.extract(pixels))

    def _train(self, train: Images, val: Images, seed: int = 0) -> Classifier:
        config = ClassifierConfig(steps=self.steps, seed=seed, augmentation="classical")
        return train_classifier(config, train, val, self.names)

    def cas(self, pixels: Pixels, codes: NDArray[np.int64], seed: int) -> float:
        """Balanced accuracy on real images of a classifier trained on these."""
        # A quarter of the images chooses the step, so that no real image is used.
        part = len(codes) // 4
        train, val = (_labelled(pixels[rows], codes[rows]) for rows in (slice(part, None), slice(part)))
        model = self._train(train, val, seed)
        found = model.logits(_labelled(self.pixels, self.codes)).argmax(1)
        return float(np.mean([(found[self.codes == k] == k).mean() for k in np.unique(self.codes)]))

    def score(self, pixels: Pixels, codes: NDArray[np.int64], seed: int) -> dict[str, float]:
        """All scores of samples."""
        features = self.extract(pixels)
        both = [x.astype(np.float64) for x in (self.features, features)]
        moments = [moment for x in both for moment in (x.mean(0), np.cov(x, rowvar=False))]
        held = _labelled(pixels, codes)
        copies = self.find_copies(Views(thumbnails(pixels), features)).facts
        return {
            "fd": frechet_distance(*moments), "kid": kid(self.features, features),
            "label": float((self.classifier.logits(held).argmax(1) == codes).mean()),
            "cas": self.cas(pixels, codes, seed), "cas_real": self.real,
            "copies": copies["share_suspect"], "copies_low": copies["low"],
            "copies_chance": copies["expected_share_high"],
        }  # fmt: skip


def _labelled(pixels: Pixels, codes: NDArray[np.int64]) -> Images:
    return Images(lambda index: pixels[index], codes)


def _images(part: Subset) -> Pixels:
    return part.images(np.arange(len(part)))


def main() -> None:
    """Run and print one line a recipe, seed and time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("judge", type=Path)
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--seconds", nargs="+", type=float, default=[60.0, 300.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=300, help="steps of the judging classifiers")
    parser.add_argument("--options", nargs="*", default=[])
    parser.add_argument("--samplers", nargs="*", default=[""])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=Path)
    asked = parser.parse_args()

    def tell(line: dict[str, Any]) -> None:
        text = json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()})
        print(text, flush=True)
        if asked.out:
            with asked.out.open("a", encoding="utf-8") as file:
                file.write(text + "\n")

    data = Dataset.open(asked.data)
    judge = Judge(data, Dataset.open(asked.judge), asked.steps)
    train = data.part("train", purpose="train")
    tell({"data": data.name, "options": asked.options, **describe_machine(Engine.from_settings())})
    tell({"recipe": "real images of train", **judge.score(_images(train), train.codes, 0)})
    for recipe in asked.recipes:
        for seed in asked.seeds:
            contestant = Contestant(recipe, data, seed, asked.options)
            for seconds in sorted(asked.seconds):
                contestant.run_until(seconds)
                for sampler in asked.samplers:
                    options = assignments([word for word in sampler.split(",") if word])
                    pixels, codes, took = contestant.samples(asked.n, options)
                    tell({
                        "recipe": recipe, "seed": seed, "seconds": seconds,
                        "kimg": contestant.nimg / 1000, **({"sampler": sampler} if sampler else {}),
                        "samples_per_s": asked.n / took, **judge.score(pixels, codes, seed),
                    })  # fmt: skip
                    if asked.pictures:
                        asked.pictures.mkdir(parents=True, exist_ok=True)
                        name = "-".join(filter(None, [recipe, str(seed), f"{seconds:g}", sampler]))
                        grid = sample_grid(pixels[:64])
                        grid.resize((2 * grid.width, 2 * grid.height), Image.Resampling.NEAREST).save(
                            asked.pictures / f"{name}.png"
                        )


if __name__ == "__main__":
    main()
