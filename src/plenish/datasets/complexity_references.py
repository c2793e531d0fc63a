"""Measured: how variable known sets of images are, beside which `plenish profile` shows the user's own.

By `python benchmarks/complexity.py FOLDER…` with MNIST's test set, a part of Fashion-MNIST, Noto emoji of
people and animals, Tuxemon sprites, and parts of PatchCamelyon and of HAM10000.
"""

from __future__ import annotations

from collections.abc import Mapping

REFERENCES: Mapping[str, Mapping[str, float]] = {
    "MNIST": {
        "images": 2000, "effective_rank": 19.0, "mean_distance": 69.0,
        "unexplained_variance": 0.668, "png_bits": 3.17, "jpeg_bits": 4.32,
    },
    "Fashion-MNIST": {
        "images": 2000, "effective_rank": 8.82, "mean_distance": 87.1,
        "unexplained_variance": 0.678, "png_bits": 4.7, "jpeg_bits": 4.53,
    },
    "Noto emoji": {
        "images": 565, "effective_rank": 25.6, "mean_distance": 80.8,
        "unexplained_variance": 0.672, "png_bits": 12.2, "jpeg_bits": 7.99,
    },
    "Tuxemon sprites": {
        "images": 376, "effective_rank": 28.2, "mean_distance": 66.7,
        "unexplained_variance": 0.689, "png_bits": 8.57, "jpeg_bits": 7.75,
    },
    "PatchCamelyon": {
        "images": 1774, "effective_rank": 4.94, "mean_distance": 64.4,
        "unexplained_variance": 1.0, "png_bits": 20.9, "jpeg_bits": 7.79,
    },
    "HAM10000": {
        "images": 2000, "effective_rank": 10.7, "mean_distance": 39.7,
        "unexplained_variance": 0.305, "png_bits": 12.0, "jpeg_bits": 6.75,
    },
    "tissue phantoms": {
        "images": 1200, "effective_rank": 22.9, "mean_distance": 50.6,
        "unexplained_variance": 0.999, "png_bits": 21.2, "jpeg_bits": 8.0,
    },
    "drawn figures": {
        "images": 2000, "effective_rank": 7.22, "mean_distance": 102.0,
        "unexplained_variance": 0.978, "png_bits": 13.3, "jpeg_bits": 6.99,
    },
    "drawn aligned faces": {
        "images": 2000, "effective_rank": 5.93, "mean_distance": 67.9,
        "unexplained_variance": 0.783, "png_bits": 15.3, "jpeg_bits": 7.27,
    },
}  # fmt: skip
"""The values of `complexity.measure` by the name of the set."""
