"""A trained translation: what it makes of pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plenish import files
from plenish.configuration import build_config
from plenish.datasets.pixels import chunks
from plenish.networks.translation import TranslationConfig, Translator
from plenish.runs import Run
from plenish.training.checkpoints import find_checkpoint, load_module
from plenish.training.engine import Engine, stable_seed, to_uint8
from plenish.training.sketches import SketchOptions
from plenish.training.translation import AT_ONCE, fixed_sketches

Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class LoadedTranslator:
    """A trained translator with its provenance.

    Attributes:
        network: in evaluation mode on the engine's device.
        sketch: how the sketches were drawn that it was trained on.
        run: the Run it comes from.
        checkpoint: the checkpoint's folder.
        weights_sha256: checksum of the weights.
        engine: device and precision; float32 unless asked otherwise.
    """

    network: Translator
    sketch: SketchOptions
    run: Run
    checkpoint: Path
    weights_sha256: str
    engine: Engine

    def translate(self, given: Pixels) -> Pixels:
        """Pictures uint8 N×H×W×C' of what is given, uint8 N×H×W×C, without dropout."""
        made = [self._made(given[place]) for place in chunks(len(given), AT_ONCE)]
        return np.concatenate(made)

    def draws(self, given: Pixels, n: int, *key: Any) -> Pixels:
        """Pictures uint8 n×H×W×C' of one that is given, uint8 H×W×C, with n draws of the dropout."""
        return self._made(given[None].repeat(n, 0), stable_seed(*key))

    def _made(self, given: Pixels, seed: int | None = None) -> Pixels:
        with self.engine.autocast():
            return to_uint8(self.network.translate(self.engine.to_images(given), seed))

    def sketches(self, images: Pixels) -> Pixels:
        """Sketches uint8 N×H×W×1 of images uint8 N×H×W×C, of middle width and threshold."""
        return self._drawn(images, lambda x, _: self.sketch.typical(x))

    def fixed_sketches(self, images: Pixels, seed: int, rows: NDArray[np.int64]) -> Pixels:
        """Sketches uint8 N×H×W×1 as validation drew them; each depends on the seed and the row alone."""
        return self._drawn(
            images, lambda x, place: fixed_sketches(self.sketch, x, self.engine, seed, rows[place])
        )

    def _drawn(self, images: Pixels, draw: Callable[[Tensor, NDArray[np.int64]], Tensor]) -> Pixels:
        found = [
            to_uint8(draw(self.engine.to_images(images[place]), place))
            for place in chunks(len(images), AT_ONCE)
        ]
        return np.concatenate(found)

    def provenance(self) -> dict[str, Any]:
        """What a result records of the model."""
        return {
            "kind": "translation", "run": str(self.run.path.resolve()), "run_id": self.run.id,
            "recipe": self.run.config["config"].get("recipe"), "checkpoint": self.checkpoint.name,
            "weights_sha256": self.weights_sha256, "precision": self.engine.precision,
            "data": dict(self.run.config["data"]),
        }  # fmt: skip


def load_translator(run: Path | str, checkpoint: str = "best") -> LoadedTranslator:
    """Load a trained translator.

    Args:
        run: a translation's Run.
        checkpoint: `best` on the val part, `last`, or a checkpoint's name.

    Raises:
        InputError: no such Run or checkpoint, or it is damaged.
    """
    opened = Run.open(run, "translation")
    path, config = find_checkpoint(opened, checkpoint), opened.config["config"]
    network = Translator(TranslationConfig.from_dict(config["network"]))
    load_module(path, "translator", network)
    engine = Engine.from_settings("float32")
    engine.to_module(network).eval().requires_grad_(False)
    sketch = build_config(SketchOptions, config["sketch"], "sketch")
    sha256 = files.sha256_file(path / "translator.safetensors")
    return LoadedTranslator(network, sketch, opened, path, sha256, engine)
