from __future__ import annotations

import pytest
from benchmarks.gan_step import method_of

from plenish.recipes import load_recipe


@pytest.mark.parametrize(
    ("name", "size", "stages"),
    [("celeba-progan", 1024, 9), ("comic-progan-body", 128, 5), ("comic-progan-faces", 160, 5)],
)
def test_recipes_that_grow_end_with_their_last_stage(name: str, size: int, stages: int) -> None:
    recipe = load_recipe(name)
    growth = method_of(recipe.sections).growth
    sizes = [growth.start << stage for stage in range(stages)]
    assert sizes[-1] == size
    end = round(1000 * recipe.sections["schedule"]["kimg"])
    # One more stage, were there one, would begin with the image behind the last.
    assert growth.at(end - 1, [*sizes, 2 * size], 8)[:2] == (stages - 1, 1.0)
    assert growth.at(end, [*sizes, 2 * size], 8).number == stages
