"""Image classifiers: a compact network of our own for the CPU, and every architecture timm knows by name."""

from __future__ import annotations

import contextlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from plenish.errors import InputError, first_line, nearest
from plenish.networks.classifier_parts import PLAIN, Head, WithColumns, with_cosine_head
from plenish.networks.depthwise import with_fast_depthwise
from plenish.networks.weights import read_weights

SMALL = "small"
_WIDTHS, _DROPOUT = (16, 32, 64, 128), 0.3
"""Channels of the small classifier's stem and stages, and the share of averaged features left out."""


class SmallClassifier(nn.Module):
    """About 0.3 million parameters; a step of 64 images of 64 px takes some 40 ms on one CPU core.

    A strided 5×5 stem, then one strided and one plain 3×3 convolution at each of three resolutions, batch
    normalisation and ReLU after each, and a linear head, with dropout, on the global average, so that any
    size of at least 8 px is accepted.
    """

    def __init__(self, channels: int, size: int, num_outputs: int, drop_rate: float | None = None) -> None:
        """Build the network.

        Args:
            channels: 1 or 3.
            size: height and width of the images; decides how strongly the stem reduces them.
            num_outputs: number of logits; 0 for the pooled features in their place.
            drop_rate: dropout before the head; by default 0.3.
        """
        super().__init__()
        stride = 1 if size <= 40 else 2 if size <= 160 else 4
        layers = _convolution(channels, _WIDTHS[0], kernel=5, stride=stride)
        for before, width in pairwise(_WIDTHS):
            layers += [*_convolution(before, width, stride=2), *_convolution(width, width)]
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(_DROPOUT if drop_rate is None else drop_rate)
        self.num_features = _WIDTHS[-1]
        self.head = nn.Linear(_WIDTHS[-1], num_outputs) if num_outputs else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Images N×C×H×W → logits N×K."""
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Images N×C×H×W → the last feature maps N×128×h×w."""
        maps: Tensor = self.features(images)
        return maps

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature maps → logits N×K, or the pooled features N×128 before them."""
        pooled: Tensor = self.dropout(features.mean(dim=(2, 3)))
        return pooled if pre_logits else self.head(pooled)

    def get_classifier(self) -> nn.Module:
        """The head."""
        return self.head

    def stages(self) -> list[list[str]]:
        """Names of the parameters: of the stem, of each of the three resolutions, and of the head."""
        found: list[list[str]] = [[] for _ in range(len(_WIDTHS) + 1)]
        for name, _ in self.named_parameters():
            part, _, rest = name.partition(".")
            stage = (int(rest.partition(".")[0]) + 3) // 6 if part == "features" else -1
            found[stage].append(name)
        return found


def _convolution(before: int, after: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    ]


class Normalised(nn.Module):
    """A classifier with its normalisation, so that it takes images in the range that mean and std are of."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        """Put normalisation before a network, whose weights are shared.

        Args:
            network: normalised images N×C×H×W → logits N×K.
            mean: per-channel mean of images, in the range that they are given in.
            std: per-channel standard deviation in the same range.
        """
        super().__init__()
        self.network = network
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor, columns: Tensor | None = None) -> Tensor:
        """Images N×C×H×W, and columns N×D where the network takes some → logits N×K."""
        more = () if columns is None else (columns,)
        logits: Tensor = self.network((images - self.mean) / self.std, *more)
        return logits


def build_classifier(
    name: str, channels: int, size: int, num_outputs: int, *, pretrained: bool | Path = False,
    head: Head = PLAIN,
) -> nn.Module:  # fmt: skip
    """A classifier by name; its weights come from torch's global generator, which the caller seeds.

    Args:
        name: `small`, or the name of any timm architecture (`resnet18`, `efficientnet_b0`, …).
        channels: channels of the images, 1 or 3.
        size: height and width of the images in pixels.
        num_outputs: number of logits K.
        pretrained: a file of weights (safetensors, or a PyTorch file of plain tensors), or True to have timm
            fetch its own; the head is replaced where its width differs, and RGB stems are adapted to grey
            images.
        head: what follows the pooled features.

    Returns:
        A module that takes N×C×H×W, and columns N×D where the head has some, and returns logits N×K.

    Raises:
        InputError: the name is unknown, the network refuses this size, or the weights cannot be had or do not
            fit.
    """
    network = _body(name, channels, size, 0 if head.columns else num_outputs, pretrained, head.drop_rate)
    if head.columns:
        with torch.no_grad():
            width = network.eval()(torch.zeros(1, channels, size, size)).shape[1]
        return WithColumns(network.train(), width, num_outputs, head)
    return network if head.scale is None else with_cosine_head(network, head.scale)


def stages(network: nn.Module) -> list[list[str]]:
    """Names of a classifier's parameters by stage: the stem, stages 1 to n, and the head."""
    if isinstance(network, SmallClassifier):
        return network.stages()
    if isinstance(network, WithColumns):
        inner = [[f"body.{name}" for name in stage] for stage in stages(network.body) if stage]
        return [*inner, [f"head.{name}" for name, _ in network.head.named_parameters()]]
    from timm.models import group_parameters

    matcher: Any = network.group_matcher
    groups = group_parameters(network, matcher(coarse=True))
    return [list(names) for names in groups.values()]


def frozen_stages(network: nn.Module, freeze: str) -> int:
    """How many of a classifier's `stages` an option names: none, stem, a number n, or all but the head.

    Raises:
        InputError: there are not so many.
    """
    if freeze == "none":
        return 0
    found = len(stages(network)) - 1  # The head is always trained.
    count = {"stem": 1, "all": found}.get(freeze) or int(freeze) + 1
    if count > found:
        raise InputError(f"--freeze {freeze}: the network has a stem and {found - 1} stages before its head.")
    return count


def _body(
    name: str, channels: int, size: int, num_outputs: int, pretrained: bool | Path, drop_rate: float | None
) -> nn.Module:
    if name == SMALL:
        network: nn.Module = SmallClassifier(channels, size, num_outputs, drop_rate)
        if pretrained is True:
            raise InputError(
                "The classifier 'small' has no published weights; give a file of weights or a timm name."
            )
        if isinstance(pretrained, Path):
            _load(network, pretrained)
        return network
    return _from_timm(name, channels, size, num_outputs, pretrained, drop_rate)


def check_classifier(name: str) -> None:
    """Raise InputError with the nearest name unless `build_classifier` knows `name`."""
    if name == SMALL:
        return
    import timm

    if not timm.is_model(name.split(".")[0]):
        close = nearest(name, [SMALL, *timm.list_models()])
        hint = f"; did you mean '{close}'?" if close else "."
        raise InputError(
            f"Unknown classifier '{name}'{hint} Known: {SMALL} and every name of timm.list_models()."
        )


def _from_timm(
    name: str, channels: int, size: int, num_outputs: int, pretrained: bool | Path, drop_rate: float | None
) -> nn.Module:
    import timm

    check_classifier(name)
    options: dict[str, Any] = {
        "in_chans": channels,
        "num_classes": num_outputs,
        "pretrained": bool(pretrained),
    }
    if drop_rate is not None:
        options["drop_rate"] = drop_rate
    if isinstance(pretrained, Path):
        # timm would unpickle a file, so it is handed the tensors that our own reader found.
        options["pretrained_cfg_overlay"] = {"state_dict": read_weights(pretrained), "custom_load": False}
    try:
        with _hub_or_cache() if pretrained is True else contextlib.nullcontext():
            try:
                network: nn.Module = timm.create_model(name, img_size=size, **options)
            except TypeError:  # convolutional networks take any size and no such argument
                network = timm.create_model(name, **options)
    except Exception as error:
        if pretrained is True:
            raise _not_fetched(name, error) from error
        what = f"weights from {pretrained}" if pretrained else f"images of {size} px"
        raise InputError(
            f"The classifier '{name}' could not be built with {what}: {first_line(error).rstrip('.')}."
        ) from error
    for kept in (getattr(network, "pretrained_cfg", None), getattr(network, "default_cfg", None)):
        if isinstance(kept, dict):
            kept.pop("state_dict", None)  # else the weights would be held twice
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, channels, size, size))
    except Exception as error:
        raise InputError(
            f"The classifier '{name}' cannot take images of {size} px ({first_line(error).rstrip('.')}); "
            "choose another."
        ) from error
    return with_fast_depthwise(network, timm.layers.Conv2dSame).train()


@contextlib.contextmanager
def _hub_or_cache() -> Iterator[None]:
    """Without a network, have the hub's client read its cache at once: else it tries for a minute first."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    host = urllib.parse.urlsplit(constants.ENDPOINT).hostname
    if not urllib.request.getproxies():  # with a proxy, it is the proxy that looks names up
        try:
            socket.getaddrinfo(host, 443)
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _not_fetched(name: str, error: Exception) -> InputError:
    """The error of weights of timm's own that cannot be had."""
    import timm

    why = first_line(error).rstrip(".")
    if not timm.is_model_pretrained(name):
        known = timm.list_models(f"{name.partition('.')[0].split('_')[0][:6]}*", pretrained=True)
        hint = f", such as {known[0].partition('.')[0]}" if known else ""
        return InputError(
            f"timm has no weights of '{name}'; take one of timm.list_models(pretrained=True){hint}, or give "
            "a file: --pretrained FILE."
        )
    return InputError(
        f"timm's weights of '{name}' could not be fetched ({why}); connect to the network once, after which "
        "they are kept, or give a file: --pretrained FILE."
    )


def _load(network: nn.Module, path: Path) -> None:
    """Load what fits by name and shape; a head of another width keeps its fresh weights."""
    state = read_weights(path)
    own = network.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    missing = [key for key in own if key not in fitting and not key.startswith("head.")]
    if missing:
        raise InputError(f"{path} lacks '{missing[0]}' or has it in another shape; it is of another network.")
    network.load_state_dict(fitting, strict=False)
