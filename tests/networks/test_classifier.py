"""Classifiers by name: shapes, sizes, weights from a file, refusals."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from plenish.errors import InputError
from plenish.networks.classifier import build_classifier, check_classifier


@pytest.mark.parametrize("size", [8, 28, 32, 64, 96, 224])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_takes_any_size(size: int, channels: int) -> None:
    network = build_classifier("small", channels, size, 5).eval()
    assert network(torch.zeros(2, channels, size, size)).shape == (2, 5)


def test_small_is_small() -> None:
    parameters = sum(p.numel() for p in build_classifier("small", 3, 64, 2).parameters())
    assert 200_000 < parameters < 400_000


def test_logits_do_not_depend_on_the_batch() -> None:
    network = build_classifier("small", 3, 32, 3).eval()
    images = torch.randn(6, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(network(images)[2:3], network(images[2:3]), atol=1e-5)


@pytest.mark.parametrize("name", ["small", "resnet10t"])
def test_weights_from_a_file_all_but_a_head_of_another_width(name: str, tmp_path: Path) -> None:
    source = build_classifier(name, 3, 32, 7)
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter)
    save_file({k: v.contiguous() for k, v in source.state_dict().items()}, tmp_path / "weights.safetensors")
    loaded = build_classifier(name, 3, 32, 2, pretrained=tmp_path / "weights.safetensors").state_dict()
    shared = [k for k, v in source.state_dict().items() if loaded[k].shape == v.shape and v.ndim == 4]
    assert shared
    assert all(torch.equal(loaded[k], source.state_dict()[k]) for k in shared)


def test_timm_never_reads_the_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm.models._builder as builder

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("timm opened the file")

    monkeypatch.setattr(builder, "load_state_dict", refuse)
    source = build_classifier("resnet10t", 3, 32, 2)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "weights.pth")
    loaded = build_classifier("resnet10t", 3, 32, 2, pretrained=tmp_path / "weights.pth")
    body = {k: v for k, v in loaded.state_dict().items() if not k.startswith("fc.")}
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in body.items())
    assert not (getattr(loaded, "pretrained_cfg", None) or {}).get("state_dict")


def test_grey_images_sum_an_rgb_stem(tmp_path: Path) -> None:
    source = build_classifier("resnet10t", 3, 32, 2)
    save_file({k: v.contiguous() for k, v in source.state_dict().items()}, tmp_path / "w.safetensors")
    grey = build_classifier("resnet10t", 1, 32, 2, pretrained=tmp_path / "w.safetensors")
    own, given = grey.state_dict()["conv1.0.weight"], source.state_dict()["conv1.0.weight"]
    assert torch.allclose(own, given.sum(1, keepdim=True))


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'resnet18'"):
        check_classifier("resnet_18")
    with pytest.raises(InputError, match=r"none\.safetensors"):
        build_classifier("small", 3, 32, 2, pretrained=tmp_path / "none.safetensors")
    with pytest.raises(InputError, match=r"none\.safetensors"):
        build_classifier("resnet10t", 3, 32, 2, pretrained=tmp_path / "none.safetensors")
    (tmp_path / "broken.pth").write_bytes(  # a pickle that would call a program
        f"cos\nsystem\n(S'touch {tmp_path / 'executed'}'\ntR.".encode()
    )
    for name in ("small", "resnet10t"):
        with pytest.raises(InputError, match=r"broken\.pth"):
            build_classifier(name, 3, 32, 2, pretrained=tmp_path / "broken.pth")
        assert not (tmp_path / "executed").exists()
    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other\.safetensors"):
        build_classifier("small", 3, 32, 2, pretrained=tmp_path / "other.safetensors")


@pytest.mark.parametrize("proxy", [False, True])
def test_without_a_network_the_hub_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, proxy: bool) -> None:
    from huggingface_hub import constants

    offline = []

    def create_model(*words: object, **options: object) -> None:
        offline.append(constants.HF_HUB_OFFLINE)
        raise OSError("no network")

    def unknown(*words: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy"} if proxy else {})
    monkeypatch.setattr("socket.getaddrinfo", unknown)
    monkeypatch.setattr("timm.create_model", create_model)
    with pytest.raises(InputError, match="could not be fetched"):
        build_classifier("resnet18", 3, 32, 2, pretrained=True)
    assert offline == [not proxy], "behind a proxy, names of the world need not be known here"
    assert not constants.HF_HUB_OFFLINE
