"""Figures of sums of latents and of style mixing, as folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from plenish.errors import InputError
from plenish.latent.arithmetic import parse_equation, solve
from plenish.latent.edits import Edit, write_edit
from plenish.latent.interpolation import label_words
from plenish.latent.named import Direction, named
from plenish.latent.path_edits import images, tables, tell_shown
from plenish.latent.points import Floats, Points, Space
from plenish.latent.render import SHOWN, Row, figure
from plenish.latent.space import LatentSpace
from plenish.progress import say

_MOST_CELLS = 10_000
"""Of a table of mixed styles."""


def write_arithmetic(
    space: LatentSpace, equation: str, sets: Mapping[str, Points], out: Path, *, y: Floats | None = None,
    where: Space | None = None, csv: bool = False,
) -> Edit:  # fmt: skip
    """Write an equation over sets of points and concepts as a figure with a row for each term.

    Args:
        space: the generator.
        equation: such as 'a - b + c'.
        sets: points by name; other names are concepts of the generator's Run.
        out: the folder.
        y: labels of the results, 1×K.
        where: the space it is computed in; w also where a concept is of w.
        csv: whether latents.csv is written too.

    Raises:
        InputError: the equation cannot be read, a name is unknown, or OUT exists.
    """
    terms = parse_equation(equation)
    unused = sorted(sets.keys() - {term.name for term in terms})
    if unused:
        raise InputError(f"--set {unused[0]} is not in the equation '{equation}'.")
    ways = {term.name: _concept(space, term.name, sets) for term in terms if term.name not in sets}
    of_w = next((way.name for way in ways.values() if way.space == "w"), None)
    if of_w is not None and where == "z":
        raise InputError(f"The concept '{of_w}' is of w, so that --within z cannot be; leave it out.")
    where = "w" if of_w is not None else where
    chosen = {name: space.in_space(points, where, "--within z") for name, points in sets.items()}
    if len({points.space for points in chosen.values()}) > 1:
        raise InputError("Some sets are of z and some of w; give --within w.")
    for way in ways.values():
        for points in chosen.values():
            space.in_space(points, way.space, f"The concept '{way.name}'")
    solved = solve(terms, {**chosen, **{name: way.step for name, way in ways.items()}}, y)
    n, rows = len(solved.results), []
    columns = np.array([*range(min(SHOWN, n - 1)), n - 1])  # The last is that of the means.
    if len(columns) < n:
        say(f"picture.png shows the first {SHOWN} of {n - 1} columns, and the means; latents.npy has all.")
    for term, operand in zip(solved.terms, solved.operands):
        title = f"{term.title(term is solved.terms[0])} {term.name}".strip()
        some = operand[columns] if isinstance(operand, Points) else None
        rows.append(Row(title, _no(space)) if some is None else Row(title, images(space, some), some.names))
    shown = solved.results[columns]
    rows.append(Row("=", images(space, shown), label_words(space.labels, shown.y) or shown.names))
    flat = solved.results.values.reshape(len(solved.results), -1)
    facts = {
        "equation": equation, "factors": {term.name: term.factor for term in terms},
        "sets": {name: list(points.names) for name, points in sets.items()},
        "concepts": sorted(ways), "norms": [round(float(n), 4) for n in np.linalg.norm(flat, axis=1)],
    }  # fmt: skip
    return write_edit(
        out, space, solved.results, figure(rows), result=facts, more=tables(solved.results, csv)
    )


def _no(space: LatentSpace) -> Any:
    return np.empty((0, space.network.size, space.network.size, space.network.channels), np.uint8)


def _concept(space: LatentSpace, name: str, sets: Mapping[str, Points]) -> Direction:
    try:
        return named(space, name)
    except InputError as error:
        given = ", ".join(sets) or "none"
        raise InputError(
            f"'{name}' in the equation is neither given by --set (given: {given}) nor a concept. {error}"
        ) from None


def write_mix(
    space: LatentSpace, base: Points, style: Points, layers: str, out: Path, *, csv: bool = False
) -> Edit:
    """Write style mixing as a table: bases at the left, styles above, in a cell one with layers of the other.

    Raises:
        InputError: the family has no styles, or not these layers; or OUT exists.
    """
    if len(base) * len(style) > _MOST_CELLS:
        raise InputError(
            f"A table of {len(base)} by {len(style)} images is too large; choose up to {_MOST_CELLS:,} cells "
            "by --ids, --seeds and --styles."
        )
    tell_shown(max(len(base), len(style)))
    mixed = space.mix(base, style, layers)
    rows_shown, columns_shown = base[:SHOWN], style[:SHOWN]
    cells = images(space, space.mix(rows_shown, columns_shown, layers))
    made = cells.reshape(len(rows_shown), len(columns_shown), *cells.shape[1:])
    left, above = images(space, rows_shown), images(space, columns_shown)
    blank = np.full((1, *left.shape[1:]), 255, np.uint8)
    rows = [Row(f"{layers} of", np.concatenate([blank, above]), ["", *columns_shown.names])]
    rows += [Row(name, np.concatenate([left[[k]], made[k]])) for k, name in enumerate(rows_shown.names)]
    facts = {"layers": layers, "bases": list(base.names), "styles": list(style.names)}
    return write_edit(out, space, mixed, figure(rows), result=facts, more=tables(mixed, csv))
