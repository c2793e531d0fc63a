"""Concepts: named directions of a latent space, kept in the generator's Run and shared as one file.

A concept is a unit vector with a scale: adding it at strength s moves a point by s times the scale along the
vector. Of concepts learnt from examples strength 1 is the distance, along the vector, between the mean of
the latents with and of those without; of directions found without examples it is one standard deviation.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.errors import InputError, unknown
from plenish.latent.points import Floats, Points, Space
from plenish.latent.space import LatentSpace
from plenish.progress import warn
from plenish.runs import Run

FOLDER = "concepts"
"""Folder of a Run that holds its concepts."""
_FORMAT = "plenish-concept"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_ROUNDING = 1e-5
"""Relative length below which a difference of vectors kept in float32 may be rounding alone."""


@dataclasses.dataclass(frozen=True)
class Concept:
    """A direction of a latent space with a name.

    Attributes:
        name: letters, digits, - and _.
        vector: unit length, D; D is the number of coordinates of z, or w_dim.
        space: z or w.
        scale: what strength 1 adds along the vector.
        layers: of w, the layers whose styles it moves; empty for all.
        facts: how it was made, JSON-able; `generator` is the provenance of the generator.
    """

    name: str
    vector: Floats
    space: Space
    scale: float
    layers: tuple[int, ...] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 of the vector's bytes."""
        return hashlib.sha256(self.vector.tobytes()).hexdigest()

    def about(self) -> dict[str, Any]:
        """JSON-able form without the vector."""
        return {
            "name": self.name, "space": self.space, "scale": self.scale, "layers": list(self.layers),
            "width": len(self.vector), **self.facts,
        }  # fmt: skip


def check_name(name: str) -> str:
    """The name of a concept, refused unless it is one.

    Raises:
        InputError: it has other characters than letters, digits, - and _, or is too long.
    """
    if _NAME.fullmatch(name) is None:
        raise InputError(
            f"'{name[:80]}' is no name of a concept; use up to 64 letters, digits, - and _, beginning with a "
            "letter or digit."
        )
    return name


def unit(vector: NDArray[np.floating], what: str) -> Floats:
    """A vector at length 1.

    Args:
        vector: D.
        what: what it is made of, for the message.

    Raises:
        InputError: it is zero, or not finite.
    """
    length = float(np.linalg.norm(np.asarray(vector, np.float64)))
    if not np.isfinite(length) or length < 1e-9:
        raise InputError(f"{what} give no direction: nothing is left of it; give other examples.")
    return np.asarray(vector / length, np.float32)


def orthogonal(vector: NDArray[np.floating], others: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """What is left of a vector, D, at right angles to others; zero where that is no more than rounding.

    Args:
        vector: D.
        others: D each, of any length.
    """
    whole = np.asarray(vector, np.float64)
    basis = basis_of(others, len(whole))
    rest: NDArray[np.float64] = whole - basis.T @ (basis @ whole)
    if np.linalg.norm(rest) < _ROUNDING * np.linalg.norm(whole):
        return np.zeros_like(whole)
    return rest


def basis_of(vectors: Sequence[NDArray[np.floating]], dim: int) -> NDArray[np.float64]:
    """Orthonormal rows C×D that span vectors, D each and of any length; directions that differ by rounding
    are one."""
    lengths = [float(np.linalg.norm(np.asarray(vector, np.float64))) for vector in vectors]
    rows = [np.asarray(v, np.float64) / length for v, length in zip(vectors, lengths) if length > 0]
    if not rows:
        return np.zeros((0, dim))
    _, values, right = np.linalg.svd(np.stack(rows), full_matrices=False)
    return np.asarray(right[values > _ROUNDING * values[0]])


def move(space: LatentSpace, points: Points, amounts: Sequence[tuple[Concept, float]]) -> Points:
    """Points with concepts added at given strengths.

    Args:
        space: the generator.
        points: z, or w; z becomes w where a concept is of w.
        amounts: concepts, each with its strength.

    Raises:
        InputError: a concept of z is to be added to points in w, or it fits another generator.
    """
    if any(concept.space == "w" for concept, _ in amounts):
        if any(concept.space == "z" for concept, _ in amounts):
            names = ", ".join(f"{concept.name} ({concept.space})" for concept, _ in amounts)
            raise InputError(f"Concepts of z and of w cannot be added at once: {names}.")
        points = space.to_w(points)
    values = points.values.astype(np.float64)
    for concept, strength in amounts:
        if concept.space != points.space:
            raise InputError(
                f"The concept '{concept.name}' is a direction of z, and these points are styles w; learn it "
                "in w (--space w), or give points as seeds or z."
            )
        step = strength * concept.scale * concept.vector.astype(np.float64)
        if concept.space == "z":
            values += step.reshape(points.values.shape[1:])
        elif concept.layers:
            values[:, list(concept.layers)] += step
        else:
            values += step
    return points.replaced(values)


def flat(points: Points) -> NDArray[np.float64]:
    """Latents as rows, N×D: z, or the mean of a point's styles over the layers."""
    if points.space == "w":
        return np.asarray(points.values.astype(np.float64).mean(1))
    return points.values.reshape(len(points), -1).astype(np.float64)


def width(space: LatentSpace, of: Space) -> int:
    """D, the number of coordinates that a concept of a generator has."""
    if of == "w":
        return space.require_styles("A concept of w").w_dim
    return int(np.prod(space.network.z_shape))


# Kept in a Run


def keep(run: Path | str, concept: Concept, *, replace: bool = False) -> Path:
    """Keep a concept in its generator's Run.

    Args:
        run: the Run.
        concept: the concept.
        replace: whether one of that name gives way.

    Returns:
        Its record, NAME.json; the vector lies beside it as NAME.npy.

    Raises:
        InputError: the Run is none, it has a concept of that name, or it cannot be written.
    """
    folder = Run.open(run, "generator").path / FOLDER
    path = folder / f"{check_name(concept.name)}.json"
    if path.exists() and not replace:
        raise InputError(
            f"{run} has a concept '{concept.name}' already; choose another name, give --replace, or remove "
            f"it with 'plenish concept rm {run} {concept.name}'."
        )
    stream = io.BytesIO()
    np.save(stream, concept.vector)
    with files.reporting_disk(path):
        folder.mkdir(exist_ok=True)
        files.write_bytes(path.with_suffix(".npy"), stream.getvalue())
        digest = files.sha256_file(path.with_suffix(".npy"))
        files.write_record(path, {"format": _FORMAT, **concept.about(), "vector_sha256": digest})
    return path


def names(run: Path | str) -> list[str]:
    """Names of a Run's concepts, in alphabetical order."""
    folder = Run.open(run, "generator").path / FOLDER
    return sorted(path.stem for path in folder.glob("*.json") if _NAME.fullmatch(path.stem))


def read(run: Path | str, name: str) -> Concept:
    """A concept of a Run.

    Raises:
        InputError: there is none of that name, or its files were altered.
    """
    path = Run.open(run, "generator").path / FOLDER / f"{check_name(name)}.json"
    if not path.is_file():
        raise unknown(f"concept of {run}:", name, names(run))
    record = files.read_record(path)
    beside = path.with_suffix(".npy")
    with files.reading(beside):
        vector = np.load(beside, allow_pickle=False)
    if files.sha256_file(beside) != record.get("vector_sha256"):
        raise InputError(f"{beside} was altered after it was written, or is damaged; learn '{name}' again.")
    return _concept(record, vector, path)


def remove(run: Path | str, name: str) -> None:
    """Remove a concept from its Run.

    Raises:
        InputError: there is none of that name.
    """
    path = Run.open(run, "generator").path / FOLDER / f"{check_name(name)}.json"
    if not path.is_file():
        raise unknown(f"concept of {run}:", name, names(run))
    with files.reporting_disk(path):
        path.unlink()
        path.with_suffix(".npy").unlink(missing_ok=True)


def load(space: LatentSpace, name: str) -> Concept:
    """A concept of a generator's Run, for that generator.

    Raises:
        InputError: there is none, or it was learnt for another generator; of another checkpoint of the same
            Run a warning tells.
    """
    concept = read(space.loaded.run.path, name)
    made_for = dict(concept.facts.get("generator") or {})
    if len(concept.vector) != width(space, concept.space):
        raise InputError(
            f"The concept '{name}' has {len(concept.vector)} numbers where {space.loaded.run.path} takes "
            f"{width(space, concept.space)}; learn it for this generator."
        )
    if made_for.get("weights_sha256") != space.loaded.weights_sha256:
        if made_for.get("run_id") != space.loaded.run.id:
            raise InputError(
                f"The concept '{name}' was learnt for {made_for.get('run_id')}, another generator than "
                f"{space.loaded.run.path}; its latents mean other things. Learn it for this one."
            )
        warn(
            f"the concept '{name}' was learnt for the checkpoint {made_for.get('checkpoint')}, and this is "
            f"{space.loaded.checkpoint.name}; give --checkpoint, or learn it again."
        )
    return concept


# Shared as a file


def export(concept: Concept, path: Path) -> None:
    """Write a concept as one JSON file.

    Raises:
        InputError: the file exists, or cannot be written.
    """
    files.refuse_existing(path)
    files.write_record(path, {"format": _FORMAT, **concept.about(), "vector": concept.vector.tolist()})


def from_file(path: Path) -> Concept:
    """Read what `export` wrote.

    Raises:
        InputError: it is no such file, or was altered.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; give one that 'plenish concept export' wrote.")
    record = files.read_record(path)
    return _concept(record, record.pop("vector", []), path)


def _concept(record: Mapping[str, Any], vector: Any, path: Path) -> Concept:
    known = ("name", "space", "scale", "layers", "width", "format", "vector_sha256")
    facts = {key: value for key, value in record.items() if key not in known}
    try:
        if record["format"] != _FORMAT or record["space"] not in ("z", "w"):
            raise ValueError("format")
        found = Concept(
            check_name(record["name"]), np.asarray(vector, np.float32), cast(Space, record["space"]),
            float(record["scale"]), tuple(int(i) for i in record["layers"]), facts,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path} is not a concept; give a file that 'plenish concept export' wrote."
        ) from None
    finite = np.isfinite(found.vector).all() and np.isfinite(found.scale)
    if found.vector.shape != (record["width"],) or not finite:
        raise InputError(f"{path} holds no whole vector; export the concept again.")
    return found
