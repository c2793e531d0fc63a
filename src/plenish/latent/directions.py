"""Directions of a latent space that need no examples: SeFa in closed form, and PCA.

SeFa (Shen and Zhou 2021, arXiv 2007.06600): the directions to which the first layer that the latent meets
answers most, the eigenvectors of AᵀA of its weights A. PCA (GANSpace, Härkönen et al. 2020, arXiv
2004.02546): principal components of w; of families without, those of the features behind the first block
within classes, from which z is regressed.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plenish.errors import InputError
from plenish.latent import concepts
from plenish.latent.concept_learning import provenance
from plenish.latent.concept_options import DirectionMethod, DirectionOptions
from plenish.latent.concepts import Concept
from plenish.latent.edits import Edit, write_edit
from plenish.latent.path_edits import images_of_ways, tell_shown
from plenish.latent.points import Points, Space
from plenish.latent.projection import Components
from plenish.latent.render import SHOWN, Row, figure
from plenish.latent.space import LatentSpace
from plenish.networks.gan.contract import Generator
from plenish.wording import signed

Array = NDArray[np.float64]
VECTORS = "directions.npy"
"""File of all directions, N×D, in their order."""
DRAWS = 2000
"""Points that components and standard deviations are taken of."""
_MOST_ROWS = 500
"""Of a contact sheet with several points."""


@dataclasses.dataclass(frozen=True)
class Directions:
    """Directions in the order of how much they do.

    Attributes:
        vectors: unit, N×D.
        scales: what strength 1 adds along each: a standard deviation of the latents.
        shares: SeFa: eigenvalue over the sum of all; PCA: share of the variance.
        space: z or w.
        layers: of w, those that are moved; empty for all.
        method: how they were found.
    """

    vectors: Array
    scales: Array
    shares: Array
    space: Space
    layers: tuple[int, ...]
    method: DirectionMethod

    def concept(self, space: LatentSpace, i: int, name: str) -> Concept:
        """Direction i, from 0, with a name."""
        facts = {
            "method": self.method, "rank": i + 1, "share": float(self.shares[i]),
            "generator": provenance(space),
        }  # fmt: skip
        vector = self.vectors[i].astype(np.float32)
        return Concept(name, vector, self.space, float(self.scales[i]), self.layers, facts)


def find_directions(
    space: LatentSpace, method: DirectionMethod, n: int, layers: Sequence[int] = (), seed: int = 0
) -> Directions:
    """Find directions.

    Args:
        space: the generator.
        method: `sefa` or `pca`.
        n: how many, at most the width of the latent.
        layers: of w, the layers that are moved; SeFa looks at their weights alone. Empty for all.
        seed: of the points that components are taken of.

    Raises:
        InputError: the generator is no GAN, has no such layers, or fewer directions.
    """
    network = space.network
    if not isinstance(network, Generator):
        raise InputError(
            f"Directions are found in GANs, whose latent meets a first layer; {space.loaded.run.path} is a "
            f"{space.family}, whose latent is an image itself. Learn a concept from examples instead."
        )
    of: Space = "w" if network.has_styles else "z"
    if layers and of == "z":
        network = space.require_styles("--layers")
    wrong = next((i for i in layers if not 0 <= i < network.num_ws), None)
    if wrong is not None:
        raise InputError(
            f"--layers names layer {wrong}, and the generator has the layers 0 to {network.num_ws - 1}."
        )
    if not 1 <= n <= (most := concepts.width(space, of)):
        raise InputError(f"-n must be from 1 to {most}, the width of {of}, not {n}.")
    points = space.draw(range(seed, seed + DRAWS), _labels(space))
    latents = concepts.flat(space.to_w(points) if of == "w" else points)
    if method == "sefa":
        weights = network.latent_weights(layers or None)
        if weights is None:
            raise InputError(
                f"The family {space.family} does not say which weights its latent meets first; give "
                "--method pca."
            )
        vectors, shares = sefa(weights.detach().double().cpu().numpy(), n)
    elif of == "w":
        components = Components.fit(latents, n)
        vectors, shares = components.axes, components.share
    else:
        vectors, shares = _pca_of_features(space, network, points, latents, n)
    if len(vectors) < n:
        raise InputError(f"There are {len(vectors)} principal components and not {n}; give a smaller -n.")
    scales = (latents @ vectors.T).std(0)
    return Directions(vectors, scales, shares, of, tuple(layers), method)


def sefa(weights: Array, n: int) -> tuple[Array, Array]:
    """Unit eigenvectors of AᵀA with the n largest eigenvalues, n×D, and their shares of the sum of all.

    Args:
        weights: A, outputs×D.
        n: how many.
    """
    _, values, right = np.linalg.svd(weights, full_matrices=False)
    if n > len(values):
        raise InputError(f"The first layer answers to {len(values)} directions, not {n}; give a smaller -n.")
    return _signed(right[:n]), values[:n] ** 2 / (values**2).sum()


def _signed(vectors: Array) -> Array:
    """Vectors whose largest coordinate is positive, so that a library's choice of sign does not show."""
    largest = np.abs(vectors).argmax(1)
    signs: Array = np.sign(vectors[np.arange(len(vectors)), largest])
    return vectors * signs[:, None]


def regressed(latents: Array, features: Array, n: int, beside: Array | None = None) -> tuple[Array, Array]:
    """Directions of z that go with the principal components of features (GANSpace, section 2.2).

    Least squares z − mean ≈ U c of the components' coordinates c; the columns of U at unit length. Both sides
    are freed of labels first, else the first components are those of the classes, which no z goes with.

    Args:
        latents: z, N×D.
        features: N×F.
        n: how many components.
        beside: labels N×K that both sides are freed of, beside the mean; none by default.

    Returns:
        At most n×D, and the components' shares of the variance.
    """
    ones = np.ones((1, len(latents)))
    basis = concepts.basis_of([*ones, *(beside.T if beside is not None else ())], len(latents))
    x, z = (side - basis.T @ (basis @ side) for side in (features, latents))
    values, left = np.linalg.eigh(x @ x.T)  # There are more features than points.
    values, left = values[::-1], left[:, ::-1]
    n = min(n, int((values > 1e-10 * values[0]).sum()))
    along = left[:, :n].T @ z
    lengths = np.linalg.norm(along, axis=1, keepdims=True)
    return along / np.maximum(lengths, 1e-12), values[:n] / values.clip(0).sum()


def _pca_of_features(
    space: LatentSpace, network: Generator, points: Points, latents: Array, n: int
) -> tuple[Array, Array]:
    block = network.first_block()
    if block is None:
        raise InputError(
            f"The family {space.family} does not say which block is its first; use --method sefa."
        )
    caught: list[NDArray[np.float32]] = []

    def catch(module: Any, inputs: Any, output: Tensor) -> None:
        caught.append(output.float().flatten(1).cpu().numpy())

    handle = block.register_forward_hook(catch)
    try:
        space.images(points)
    finally:
        handle.remove()
    beside = None if points.y is None else points.y.astype(np.float64)
    return regressed(latents, np.concatenate(caught).astype(np.float64), n, beside)


def _labels(space: LatentSpace) -> NDArray[np.float32] | None:
    """Labels for points: None where there are none or classes are taken in turn, else zeros."""
    if not space.labels.width or space.labels.kind == "categorical":
        return None
    return np.zeros((1, space.labels.width), np.float32)


def edit_directions(space: LatentSpace, points: Points, out: Path, options: DirectionOptions) -> Edit:
    """Write the contact sheet of directions, a row for each direction and point, and keep those asked for.

    Raises:
        InputError: the generator has no such directions, a name is taken, or OUT exists.
    """
    if not options.strength or not all(map(math.isfinite, options.strength)):
        raise InputError("--strength takes finite numbers, such as -2 0 2.")
    kept = _kept_names(space, options)
    found = find_directions(space, options.method, options.n, options.layers or ())
    rows, made, shown = list[Row](), list[Points](), max(1, min(SHOWN, _MOST_ROWS // options.n))
    tell_shown(len(points), shown)
    for i in range(options.n):
        one = found.concept(space, i, f"direction-{i + 1}")
        columns = [concepts.move(space, points, [(one, s)]) for s in options.strength]
        images = images_of_ways(space, [column[:shown] for column in columns])
        for k, name in enumerate(points.names[:shown]):
            title = f"{i + 1} · {found.shares[i]:.1%}" + (f" · {name}" if len(points) > 1 else "")
            captions = [signed(s, 6) for s in options.strength] if not rows else ()
            rows.append(Row(title, images[:, k], captions))
        made += [column[[k]] for k in range(len(points)) for column in columns]
    result = {
        "method": found.method, "strengths": list(options.strength), "shares": found.shares.tolist(),
        "scales": found.scales.tolist(), "layers": list(found.layers), "kept": list(kept.values()),
    }  # fmt: skip
    stream = io.BytesIO()
    np.save(stream, found.vectors.astype(np.float32))
    more = {VECTORS: stream.getvalue()}
    edit = write_edit(out, space, Points.joined(made), figure(rows), result=result, more=more)
    for i, name in kept.items():
        concepts.keep(space.loaded.run.path, found.concept(space, i, name), replace=options.replace)
    return edit


def _kept_names(space: LatentSpace, options: DirectionOptions) -> dict[int, str]:
    """Names of the directions that are kept, by their number from 0; refused before any work."""
    if options.keep_as is None:
        if options.pick is not None:
            raise InputError("--pick says which directions are kept; give --keep-as, their name, too.")
        return {}
    picked = options.pick if options.pick is not None else list(range(1, options.n + 1))
    wrong = next((i for i in picked if not 1 <= i <= options.n), None)
    if wrong is not None or not picked:
        raise InputError(f"--pick takes numbers from 1 to {options.n}, not {wrong}.")
    names = {
        i - 1: concepts.check_name(options.keep_as if len(picked) == 1 else f"{options.keep_as}-{i}")
        for i in picked
    }
    taken = set(concepts.names(space.loaded.run.path)) & set(names.values())
    if taken and not options.replace:
        raise InputError(
            f"There is a concept '{min(taken)}' already; choose another --keep-as, or give --replace."
        )
    return names
