"""Square attack: random search with square-shaped changes, which asks for logits alone.

M. Andriushchenko, F. Croce, N. Flammarion, M. Hein, "Square attack: a query-efficient black-box adversarial
attack via random search", ECCV 2020.
"""

from __future__ import annotations

import bisect
import math

import torch
from torch import Tensor

from plenish.robustness.gradients import Network, Precision, logits_of, untouched
from plenish.robustness.image_draws import ImageDraws
from plenish.robustness.projections import into_ball, total
from plenish.robustness.threat import Norm, check_counts, check_sizes, per_image
from plenish.robustness.visited import Hardest, exact_margins, plain_logits, unmoved

QUERIES = 5000
_HALVED_AT = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
"""Queries of 10,000 after which the share of pixels in a square is halved (section 4.1)."""
_CHUNK = 100
"""Queries whose random numbers are drawn at once."""
_TILES = 5
"""Tiles along a side in the first change of the L2 norm."""


def square(
    model: Network,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    queries: int = QUERIES,
    share: float = 0.8,
) -> Tensor:
    """Change a random square of an image at a time, and keep what brings the margin nearer to another class.

    Args:
        model: images in [0, 1] → logits N×K, K ≥ 2.
        images: N×C×H×W in [0, 1].
        labels: N; the classes to lead away from.
        eps: the radius of the ball.
        norm: of the ball.
        seed: of the squares.
        precision: of the queries; whether a point is misclassified is always computed in float32.
        queries: logits asked for an image, at most.
        share: of an image's pixels in the first squares; it is halved as queries go on.

    Returns:
        For each image the point of the largest margin that was found, which is misclassified if any was.
    """
    check_counts(queries=queries)
    check_sizes(share=share)
    if unmoved(images, eps, norm):
        return images.clone()
    with untouched(model), torch.no_grad():
        hardest = Hardest(images, labels, plain_logits(model, images))
        rows = hardest.left
        if len(rows):
            draws = ImageDraws(images[rows], seed, "square")
            _random_search(model, rows, images, labels, hardest, draws, eps, norm, precision, queries, share)
    return hardest.points


def side_of_square(query: int, queries: int, share: float, height: int, width: int) -> int:
    """The side in pixels of the squares of a query, whose size follows the schedule for 10,000 queries."""
    halved = bisect.bisect_left(_HALVED_AT, query * 10_000 / queries)
    side = round(math.sqrt(share / 2**halved * height * width))
    return min(max(side, 1), height, width)


def _random_search(
    model: Network, rows: Tensor, images: Tensor, labels: Tensor, hardest: Hardest, draws: ImageDraws,
    eps: float, norm: Norm, precision: Precision, queries: int, share: float,
) -> None:  # fmt: skip
    """Try a change of each image of some rows at a time, and keep those that raise its margin."""
    originals, classes = images[rows], labels[rows]
    height, width = images.shape[2:]
    first = _stripes if norm == "linf" else _tiles
    propose = _resigned if norm == "linf" else _shifted
    point = originals
    value = torch.full((len(rows),), -torch.inf, device=images.device)
    tried, numbers = first(originals, eps, draws), torch.empty(0)
    for query in range(queries):
        if query:
            if query % _CHUNK == 1:
                numbers = draws.uniform(_CHUNK, images.shape[1] + 5)
            side = side_of_square(query, queries, share, height, width)
            tried = propose(originals, point, eps, side, numbers[:, (query - 1) % _CHUNK])
        margins, certain = exact_margins(model, tried, classes, logits_of(model, tried, precision), precision)
        better = margins > value
        point = torch.where(better.view(-1, 1, 1, 1), tried, point)
        value = torch.where(better, margins, value)
        if certain.any() or query == queries - 1:
            hardest.record(rows, point, value, certain & better)
            kept = (~hardest.certain[rows]).nonzero()[:, 0]
            if not len(kept):
                return
            rows, originals, classes = rows[kept], originals[kept], classes[kept]
            point, value = point[kept], value[kept]
            numbers = numbers[kept] if query else numbers
            draws.keep(kept)


def _stripes(images: Tensor, eps: float, draws: ImageDraws) -> Tensor:
    """Vertical stripes of ±eps."""
    signs = _signs(draws.uniform(images.shape[1], 1, images.shape[3]))
    return into_ball(images, images + eps * signs, eps, "linf")


def _resigned(images: Tensor, point: Tensor, eps: float, side: int, numbers: Tensor) -> Tensor:
    """A square of each image at +eps or −eps of the original, a sign a channel."""
    channels = images.shape[1]
    down, right = _corner(numbers[:, 0], numbers[:, 1], side, images)
    within = (
        _span(down, side, images.shape[2])[:, None, :, None]
        & _span(right, side, images.shape[3])[:, None, None]
    )
    signs = _signs(numbers[:, 5 : 5 + channels]).view(-1, channels, 1, 1)
    return torch.where(within, (images + eps * signs).clamp_(0, 1), point)


def _tiles(images: Tensor, eps: float, draws: ImageDraws) -> Tensor:
    """A grid of tiles with the shape of the later squares, each with a random sign a channel."""
    count, channels, height, width = images.shape
    side = max(min(height, width) // _TILES, 1)
    down, right = height // side, width // side
    signs = _signs(draws.uniform(channels, down, right))
    shape = _pyramids(side, images)
    turned = draws.uniform(1, down, right)[..., None, None] < 0.5
    tiles = torch.where(turned, shape.T, shape) * signs[..., None, None]
    change = torch.zeros_like(images)
    spread = tiles.permute(0, 1, 2, 4, 3, 5).reshape(count, channels, down * side, right * side)
    change[:, :, : down * side, : right * side] = spread
    length = total(change.square()).sqrt().clamp_min(1e-12)
    return into_ball(images, images + change * per_image(eps / length, images), eps, "l2")


def _shifted(images: Tensor, point: Tensor, eps: float, side: int, numbers: Tensor) -> Tensor:
    """Move the length of a square into another, with what is left of the radius (algorithm 3)."""
    channels = images.shape[1]
    side = min(max(side, 3), *images.shape[2:])
    change = point - images
    unused = (eps * eps - total(change.square())).clamp_min(0).view(-1, 1)
    to = _window(*_corner(numbers[:, 0], numbers[:, 1], side, images), side, channels)
    away = _window(*_corner(numbers[:, 2], numbers[:, 3], side, images), side, channels)
    shape = _pyramids(side, images)
    shape = torch.where(numbers[:, 4].view(-1, 1, 1, 1) < 0.5, shape.T, shape) / shape.norm()
    held = change[to]
    before = change.square().sum(dim=(2, 3))
    change[to] = 0
    change[away] = 0
    freed = (before - change.square().sum(dim=(2, 3))).clamp_min(0)
    signs = _signs(numbers[:, 5 : 5 + channels]).view(-1, channels, 1, 1)
    fresh = signs * shape + held / _length(held)
    change[to] = fresh / _length(fresh) * (freed + unused / channels).sqrt().view(-1, channels, 1, 1)
    return into_ball(images, images + change, eps, "l2")


def _length(windows: Tensor) -> Tensor:
    return windows.square().sum(dim=(2, 3), keepdim=True).sqrt().clamp_min(1e-12)


def _pyramids(side: int, images: Tensor) -> Tensor:
    """Two pyramids of opposite signs beside each other, side×side (equation 2)."""
    half = side // 2
    shape = torch.zeros(side, side, device=images.device, dtype=images.dtype)
    for first, last, sign in ((0, half, 1.0), (half, side, -1.0)):
        if last > first:
            shape[first:last] = sign * _pyramid(last - first, side).to(shape)
    return shape


def _pyramid(height: int, width: int) -> Tensor:
    """Sums of 1/(n + 1 − k)² over the nested rectangles k = 0, 1, … that a pixel lies in."""
    steps = min(height, width) // 2
    down, right = torch.arange(height), torch.arange(width)
    depth = torch.minimum(
        torch.minimum(down, height - 1 - down)[:, None], torch.minimum(right, width - 1 - right)[None]
    )
    heights = torch.cumsum(1.0 / (steps + 1 - torch.arange(steps + 1)).double().square(), dim=0)
    return heights[depth]


def _signs(numbers: Tensor) -> Tensor:
    return torch.where(numbers < 0.5, -1.0, 1.0)


def _corner(down: Tensor, right: Tensor, side: int, images: Tensor) -> tuple[Tensor, Tensor]:
    """Uniform positions of squares from numbers in [0, 1)."""
    height, width = images.shape[2:]
    return (down * (height - side + 1)).long(), (right * (width - side + 1)).long()


def _span(first: Tensor, side: int, length: int) -> Tensor:
    places = torch.arange(length, device=first.device)
    return (places >= first[:, None]) & (places < first[:, None] + side)


def _window(down: Tensor, right: Tensor, side: int, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Indices of squares of all channels, one an image."""
    device = down.device
    steps = torch.arange(side, device=device)
    return (
        torch.arange(len(down), device=device).view(-1, 1, 1, 1),
        torch.arange(channels, device=device).view(1, -1, 1, 1),
        (down[:, None] + steps).view(-1, 1, side, 1),
        (right[:, None] + steps).view(-1, 1, 1, side),
    )
