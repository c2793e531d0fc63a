"""`plenish recipe steps`: the steps of a recipe, one after another, and a table of its classifiers."""

from __future__ import annotations

from pathlib import Path

from plenish.configuration import check_bounds
from plenish.datasets.dataset import Dataset
from plenish.errors import unknown
from plenish.invocation import command
from plenish.progress import say
from plenish.recipes import load_recipe
from plenish.recipes.steps import steps_of
from plenish.recipes.steps_run import (
    Steps,
    claim,
    do_step,
    done_steps,
    expected_seconds,
    is_done,
    row_of,
    write_table,
)


@command("recipe steps")
def run_steps(
    recipe: str, data: Path, out: Path, *, split: str = "default", seeds: int = 3,
    only: list[str] | None = None, dry_run: bool = False,
) -> Steps:  # fmt: skip
    """Do the steps of a recipe, each by a process of its own, and make a table of its classifiers.

    A step that is done is not done again, and one that was interrupted is resumed: the same command goes on
    with all. Classifiers that belong to rows of the table are tested, and every reading of the test part is
    counted; the first row is what the others are compared with. --dry-run lists the commands, and says how
    long those take that can be tried.

    Args:
        recipe: a name from `plenish recipe list`, or a YAML file: `steps`, a mapping of names to `run`, a
            command with {data}, {out}, {split} and perhaps {seed}, and `row`, where its classifier belongs
            to a row of the table.
        data: the real Dataset, with a split.
        out: the folder of all that is made; one with the same recipe and data is gone on with.
        split: the split.
        seeds: how often what has a {seed} is done.
        only: these steps alone.
        dry_run: do nothing; list the commands with the time they take.

    Raises:
        InputError: no such recipe, step or Dataset, or a folder of something else.
        PlenishError: a step failed, with its own exit code; its own sentence is above.
    """
    check_bounds("--seeds", seeds, {"least": 1})
    chosen = load_recipe(recipe, "steps")
    dataset = Dataset.open(data)
    provenance = dataset.provenance(split)
    steps = steps_of(chosen, data, out, split, seeds)
    for name in only or []:
        if name not in {step.name for step in steps}:
            raise unknown("step", name, dict.fromkeys(step.name for step in steps))
    wanted = [step for step in steps if not only or step.name in only]
    about = {key: value for key, value in provenance.items() if key not in ("path", "name")}
    if dry_run:
        times = expected_seconds(wanted)
        return Steps(out, [row_of(step, {}, times[step.key]) for step in wanted], dry=True)
    claim(out, {"recipe": chosen.name, "data": about})
    for number, step in enumerate(wanted, 1):
        if not is_done(out, step):
            say(f"Step {number} of {len(wanted)}, {step.key}: {step.line}")
            do_step(out, step)
    done = done_steps(out)
    rows = [row_of(step, done, done[step.key]["seconds"]) for step in wanted]
    return Steps(out, rows, write_table(out, steps, dataset.labels.names))
