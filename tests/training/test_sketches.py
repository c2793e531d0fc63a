from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from plenish.errors import InputError
from plenish.training.sketches import STEP, SketchOptions, blur, sketches


def test_blurs_are_those_of_scipy() -> None:
    images = np.random.default_rng(0).random((3, 2, 20, 24), np.float32)
    widths, radius = torch.tensor([0.5, 1.0, 1.7]), 7
    found = blur(torch.from_numpy(images), widths, radius).numpy()
    for i, width in enumerate(widths.tolist()):
        for c in range(2):
            expected = gaussian_filter(images[i, c], width, mode="nearest", radius=radius)
            np.testing.assert_allclose(found[i, c], expected, atol=1e-6)


def test_the_largest_difference_beside_an_edge_is_that_of_two_normal_distributions() -> None:
    x = np.linspace(0, 4, 100_001)
    assert pytest.approx(float((norm.cdf(x) - norm.cdf(x / 1.6)).max()), abs=1e-9) == STEP


def edge(height: float, channel: int | None = None, size: int = 64) -> torch.Tensor:
    """Dark on the left, lighter by `height` of the range on the right."""
    image = torch.zeros(1, 3, size, size)
    image[:, :, :, size // 2 :] = 2 * height
    if channel is not None:
        image[:, [c for c in range(3) if c != channel]] = 0
    return image


@pytest.mark.parametrize("channel", [None, 0, 2])
@pytest.mark.parametrize(("height", "ink"), [(0.05, 0.0), (0.15, 0.5), (0.3, 1.0), (0.45, 1.0)])
def test_a_line_runs_on_the_dark_side_of_an_edge_by_the_height_of_its_step(
    height: float, ink: float, channel: int | None
) -> None:
    # A wide blur, so that pixels lie near the places of the continuous edge.
    drawn = sketches(edge(height, channel), torch.tensor([4.0]), torch.tensor([0.1]), 24)
    found = (1 - drawn[0, 0, 32]) / 2
    assert float(found.max()) == pytest.approx(ink, abs=0.02)
    assert (found[32:] == 0).all(), "the light side is paper"
    if ink:
        peak = math.sqrt(2 * math.log(1.6) / (1 - 1.6**-2)) * 4
        black = (found[:32] > 0.999 * found.max()).nonzero()
        assert black.min() - 0.5 <= 31.5 - peak <= black.max() + 0.5


def test_even_pictures_are_paper_and_mirrored_ones_have_mirrored_sketches() -> None:
    options, noise = SketchOptions(), torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert (options.typical(torch.full((1, 3, 32, 32), 0.3)) == 1).all()
    mirrored = options.typical(noise.flip(3)).flip(3)
    torch.testing.assert_close(mirrored, options.typical(noise), atol=1e-4, rtol=0)
    dark = options.typical(noise)
    assert dark.shape == (2, 1, 32, 32)
    assert dark.min() == -1


def test_draws_depend_on_the_stream_alone_and_an_image_on_its_own_draw() -> None:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    options = SketchOptions(width_least=0.4, width_most=1.2)

    def rng() -> torch.Generator:
        return torch.Generator().manual_seed(5)

    first = options.drawn(images, rng())
    assert torch.equal(first, options.drawn(images, rng()))
    assert not torch.equal(first[0], options.drawn(images[:1].repeat(4, 1, 1, 1), rng())[1])
    changed = torch.cat([images[:2], -images[2:]])
    torch.testing.assert_close(options.drawn(changed, rng())[:2], first[:2])


def test_thicker_and_fuller_by_the_options() -> None:
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    ink = [float((1 - SketchOptions(0.5, 0.5, t, t).typical(images)).sum()) for t in (0.02, 0.1, 0.3)]
    assert ink[0] > ink[1] > ink[2]
    with pytest.raises(InputError, match="width_least"):
        SketchOptions(width_least=2, width_most=1)
