"""`plenish edit …`: tools of the latent space, each of which writes a picture or a film and the latents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from plenish import files
from plenish.configuration import check_bounds
from plenish.errors import InputError
from plenish.invocation import command
from plenish.latent.edit_options import GeneratorOptions, PointOptions, SetOptions
from plenish.latent.render import FilmOptions

if TYPE_CHECKING:
    from plenish.latent.edits import Edit


@command("edit flip")
def flip(
    run: Path, out: Path, *, to: str | None = None, soft: bool = True, csv: bool = False,
    which: PointOptions = PointOptions(), how: FilmOptions = FilmOptions(),
) -> Edit:  # fmt: skip
    """Show generated images with another class at the same latents: both, their difference, and a film.

    Args:
        run: a generator's Run, trained with classes.
        out: the folder to write: picture.png, the film, latents.npy, labels.npy, edit.json.
        to: the class to go to; by default the next one of the list, which is the other one of two.
        soft: whether the film goes through soft labels; --no-soft lays one image over the other instead.
        csv: also write the latents as latents.csv.
        which: further options.
        how: further options.

    Returns:
        The edit.

    Raises:
        InputError: the generator has no classes, or OUT exists.
    """
    files.refuse_existing(out, unless_made=True)
    from plenish.latent.class_change import flip as write  # After what needs no torch.
    from plenish.latent.selection import chosen_points, load_space

    space = load_space(run, which)
    return write(space, chosen_points(space, which), out, to, how, soft=soft, csv=csv)


@command("edit interpolate")
def interpolate(
    run: Path, out: Path, *, path: Literal["linear", "slerp"] | None = None,
    within: Literal["z", "w"] | None = None, loop: Literal["ping-pong", "closed", "open"] = "ping-pong",
    labels: Literal["soft", "held"] = "soft", csv: bool = False, which: PointOptions = PointOptions(),
    how: FilmOptions = FilmOptions(),
) -> Edit:  # fmt: skip
    """Film the way from one generated image to the next, through two or more, with a figure of each leg.

    Args:
        run: a generator's Run.
        out: the folder to write: picture.png, the film, latents.npy, edit.json, and labels.npy with labels.
        path: linear is straight, slerp goes along great circles; by default slerp for z of a normal prior,
            else linear.
        within: where the way lies; w, for generators with styles, by default where the points are.
        loop: ping-pong plays the film forward and back, closed goes on to the first image, open stops at the
            last.
        labels: soft moves labels as the latents; held keeps that of the image which is left until the next
            one, so that a closed tour of two classes goes there in one and back in the other.
        csv: also write the latents as latents.csv.
        which: further options; --seeds 0 1 by default.
        how: further options; --frames is that of each leg.

    Returns:
        The edit.

    Raises:
        InputError: there are fewer than two points, or OUT exists.
    """
    files.refuse_existing(out, unless_made=True)
    from plenish.latent.path_edits import write_interpolation
    from plenish.latent.selection import chosen_points, load_space

    space = load_space(run, which)
    points = space.in_space(chosen_points(space, which, 2), within, "--within z")
    return write_interpolation(space, points, out, kind=path, loop=loop, labels=labels, options=how, csv=csv)


@command("edit grid")
def grid(
    run: Path, out: Path, *, side: int = 7, path: Literal["linear", "slerp"] | None = None,
    within: Literal["z", "w"] | None = None, csv: bool = False, which: PointOptions = PointOptions(),
    how: FilmOptions = FilmOptions(),
) -> Edit:  # fmt: skip
    """Show the square between four generated images, and the six ways between them.

    Args:
        run: a generator's Run.
        out: the folder to write: picture.png, the film of the six ways, latents.npy (the square, row by row),
            edit.json.
        side: images along a side of the square.
        path: linear is straight, slerp goes along great circles; by default slerp for z of a normal prior,
            else linear.
        within: where the square lies; w, for generators with styles, by default where the points are.
        csv: also write the latents as latents.csv.
        which: further options; --seeds 0 1 2 3 by default: upper left, upper right, lower left, lower right.
        how: further options.

    Returns:
        The edit.

    Raises:
        InputError: there are not four points, or OUT exists.
    """
    check_bounds("--side", side, {"least": 2, "most": 100})
    files.refuse_existing(out, unless_made=True)
    from plenish.latent.path_edits import write_grid
    from plenish.latent.selection import chosen_points, load_space

    space = load_space(run, which)
    points = space.in_space(chosen_points(space, which), within, "--within z")
    return write_grid(space, points, out, side=side, kind=path, options=how, csv=csv)


@command("edit walk")
def walk(
    run: Path, out: Path, *, seed: int = 0, bends: int = 2, direction: str | None = None,
    strength: tuple[float, float] = (-2.0, 2.0), within: Literal["z", "w"] | None = None, csv: bool = False,
    which: PointOptions = PointOptions(), how: FilmOptions = FilmOptions(),
) -> Edit:  # fmt: skip
    """Film a random closed walk through the prior, or what a direction does to some images.

    Args:
        run: a generator's Run.
        out: the folder to write: picture.png, the film, latents.npy, edit.json.
        seed: of the random walk.
        bends: how often the random walk turns at most.
        direction: the name of a concept or direction that the Run keeps, or a .npy or .csv file with one row
            of numbers; then --seeds, --latents or --ids say which images it changes.
        strength: with --direction, the first and the last factor before it.
        within: where the points lie; w, for generators with styles.
        csv: also write the latents as latents.csv.
        which: further options.
        how: further options.

    Returns:
        The edit.

    Raises:
        InputError: no such direction, or OUT exists.
    """
    check_bounds("--bends", bends, {"least": 1, "most": 100})
    for factor in strength:
        check_bounds("--strength", factor, {"least": -1e6, "most": 1e6})
    naming = ("seeds", "latents", "space", "data", "ids")
    chosen = [name for name in naming if getattr(which, name) is not None]
    if direction is None and chosen:
        raise InputError(
            f"--{chosen[0]} says which images --direction changes; give both, or neither for a random walk."
        )
    files.refuse_existing(out, unless_made=True)
    from plenish.latent.named import direction as direction_of
    from plenish.latent.path_edits import write_move, write_walk
    from plenish.latent.selection import chosen_points, load_space

    space = load_space(run, which)
    if direction is None:
        y = None if which.label is None else space.label(which.label)
        return write_walk(space, out, seed=seed, bends=bends, y=y, where=within, options=how, csv=csv)
    way = direction_of(space, direction)
    points = space.in_space(chosen_points(space, which), within, "--within z")
    return write_move(space, points, way, strength, out, options=how, csv=csv)


@command("edit arithmetic", renamed={"sets": "set"})
def arithmetic(
    run: Path, out: Path, equation: str, *, label: str | None = None, within: Literal["z", "w"] | None = None,
    csv: bool = False, which: SetOptions = SetOptions(), how: GeneratorOptions = GeneratorOptions(),
) -> Edit:  # fmt: skip
    """Add and subtract latents: sets of points and concepts, in a figure with a row for each term.

    Column k of the figure takes the k-th point of each set, the last column the means of the whole sets.

    Args:
        run: a generator's Run.
        out: the folder to write: picture.png, latents.npy (the results; the last is that of the means),
            edit.json.
        equation: names with + - * / , numbers and parentheses, such as 'a - b + 0.5*c'.
        label: the label of the results, as in --label of the other edits; by default that of the last set
            that is added. Of tags and continuous labels it is that of sets without one, too.
        within: where it is computed; w, for generators with styles.
        csv: also write the latents as latents.csv.
        which: further options.
        how: further options.

    Returns:
        The edit.

    Raises:
        InputError: the equation cannot be read, a name is unknown, or OUT exists.
    """
    files.refuse_existing(out, unless_made=True)
    from plenish.latent.arithmetic import parse_equation
    from plenish.latent.equation_edits import write_arithmetic
    from plenish.latent.selection import load_space, parse_set

    parse_equation(equation)
    space = load_space(run, how)
    y = None if label is None else space.label(label)
    known = None if space.labels.kind == "categorical" else y
    sets = dict(parse_set(space, text, which.data, known) for text in which.sets or [])
    return write_arithmetic(space, equation, sets, out, y=y, where=within, csv=csv)


@command("edit mix")
def mix(
    run: Path, out: Path, *, layers: str = "coarse", styles: list[int] | None = None, csv: bool = False,
    which: PointOptions = PointOptions(),
) -> Edit:  # fmt: skip
    """Mix styles: some layers of one image, the others of another, in a table; for generators with styles w.

    Args:
        run: a generator's Run, of a family with styles such as StyleGAN2.
        out: the folder to write: picture.png, latents.npy (w, row by row), edit.json.
        layers: which layers come from the images above the table: coarse, middle or fine, a third each, or
            numbers such as 0-3.
        styles: seeds of the images above the table; by default those at its left.
        csv: also write the latents as latents.csv.
        which: further options; the images at the left.

    Returns:
        The edit.

    Raises:
        InputError: the family has no styles, or not these layers; or OUT exists.
    """
    files.refuse_existing(out, unless_made=True)
    from plenish.latent.equation_edits import write_mix
    from plenish.latent.selection import chosen_points, load_space

    space = load_space(run, which)
    space.require_styles("Style mixing")
    base = chosen_points(space, which)
    style = (
        base
        if styles is None
        else space.draw(styles, None if which.label is None else space.label(which.label))
    )
    return write_mix(space, base, style, layers, out, csv=csv)
