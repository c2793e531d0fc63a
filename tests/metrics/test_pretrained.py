"""Pretrained extractors: the loading code, with weights of our own; nothing here leaves the machine."""

from __future__ import annotations

import functools
import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from plenish import settings
from plenish.errors import InputError
from plenish.metrics import pretrained
from plenish.metrics.pretrained import dinov2, download, inception


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with settings.use(quiet=True):
        yield


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A file server on the loopback interface, serving tmp_path/served."""
    (tmp_path / "served").mkdir()
    handler = functools.partial(_Silent, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def pictures() -> Any:
    return np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3)).astype(np.uint8)


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("plenish.metrics.pretrained.TIMEOUT_S", 0.2)
    monkeypatch.setattr(socket, "setdefaulttimeout", lambda _: pytest.fail("other connections would have it"))
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(InputError):
        download(f"http://127.0.0.1:{listening.getsockname()[1]}/w.pth", "00")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_download_checks_the_digest_keeps_the_file_and_names_the_mend(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"weights" * 1000
    served = tmp_path / "served" / "w.pth"
    served.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()[:8]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = download(f"{server}/w.pth", digest)
    assert path.read_bytes() == content
    served.unlink()
    assert download(f"{server}/w.pth", digest) == path  # from the cache
    with pytest.raises(InputError, match="--weights FILE or use --features domain"):
        download(f"{server}/gone.pth", digest)
    served.write_bytes(b"something else")
    path.unlink()
    with pytest.raises(InputError, match="expected file"):
        download(f"{server}/w.pth", digest)
    assert not list(path.parent.iterdir())


def test_a_disk_that_takes_no_file_is_not_called_a_failed_download(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served" / "w.pth").write_bytes(b"weights")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(InputError, match="cache") as caught:
        download(f"{server}/w.pth", hashlib.sha256(b"weights").hexdigest())
    assert server not in str(caught.value)


def test_no_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(pretrained, "INCEPTION_URL", "http://127.0.0.1:9/weights-6726825d.pth")
    with pytest.raises(InputError, match="could not be downloaded"):
        inception()


def _random_inception(monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    with monkeypatch.context() as patch:
        patch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        torch.manual_seed(0)
        network: torch.nn.Module = theirs.FeatureExtractorInceptionV3("x", ["2048"])
    return network


def test_inception_reads_a_state_dict_and_gives_its_features(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pictures: Any
) -> None:
    network = _random_inception(monkeypatch)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, tmp_path / "i.safetensors")
    extractor = inception(tmp_path / "i.safetensors")
    got = extractor(pictures)
    assert got.shape == (3, 2048)
    want = network(torch.from_numpy(pictures).permute(0, 3, 1, 2))[0].numpy()
    assert got == pytest.approx(want, rel=1e-3, abs=1e-4)
    grey = extractor(pictures[..., :1])
    assert grey == pytest.approx(extractor(np.repeat(pictures[..., :1], 3, axis=3)))
    assert extractor.name == "inception-other"  # not the reference weights: its score is not called FID
    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"does not fit .* it holds the weights of another network"):
        inception(tmp_path / "w.safetensors")


def test_only_reference_weights_are_called_fid() -> None:
    from plenish.metrics.fidelity import compare

    x = np.random.default_rng(0).normal(size=(20, 4))
    names = [
        compare(x[:10], x[10:], extractor=e, resamples=0)[0].name for e in ("inception", "inception-other")
    ]
    assert names == ["FID(inception)", "FD(inception-other)"]


def test_dinov2_reads_a_state_dict_and_gives_its_features(tmp_path: Path, pictures: Any) -> None:
    import timm

    torch.manual_seed(0)
    network = timm.create_model(pretrained.DINOV2, pretrained=False, num_classes=0, dynamic_img_size=True)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, tmp_path / "d.safetensors")
    extractor = dinov2(tmp_path / "d.safetensors")
    assert extractor(pictures).shape == (3, 384)
    assert extractor.name == "dinov2"
    assert len(extractor.hash) == 64
    assert extractor(pictures[:1]) == pytest.approx(extractor(pictures)[:1], rel=1e-3, abs=1e-4)
    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"does not fit .* it holds the weights of another network"):
        dinov2(tmp_path / "w.safetensors")


def test_dinov2_without_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def offline(*_: Any, **__: Any) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(InputError, match="--features domain"):
        dinov2()
