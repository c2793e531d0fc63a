"""Files of weights: what is none is refused in one sentence of ours, and no code runs."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from plenish.errors import InputError
from plenish.networks.weights import read_weights, read_with_digest


class _Evil:
    def __reduce__(self) -> Any:
        return (Path.write_text, (Path("owned"), "x"))


def test_weights_files_that_are_none_are_refused_and_no_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pth").write_bytes(pickle.dumps(_Evil()))
    (tmp_path / "b.safetensors").write_bytes(b"nonsense")
    torch.save([1, 2], tmp_path / "c.pth")
    torch.save({"a": _Evil()}, tmp_path / "d.pth")
    (tmp_path / "e.pth").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        archive.writestr("photo.txt", "no weights")
    (tmp_path / "g.pth").write_bytes(b"\x80\x02cos")
    reasons = {"b.safetensors": "header too large", "d.pth": "Unsupported global", "e.pth": "EOFError"}
    for name in ("a.pth", "b.safetensors", "d.pth", "e.pth", "f.zip", "g.pth"):
        for read in (read_weights, read_with_digest):
            with pytest.raises(InputError) as caught:
                read(tmp_path / name)
            message = str(caught.value)
            assert message.startswith(f"{tmp_path / name} is not a file of weights")
            assert reasons.get(name, "") in message
            assert "weights_only" not in message  # torch's advice to let the file execute code
    torch.save({1: torch.ones(2)}, tmp_path / "numbers.pth")
    for name in ("c.pth", "missing.pth", "numbers.pth"):
        with pytest.raises(InputError, match=name):
            read_weights(tmp_path / name)
    assert not (tmp_path / "owned").exists()
    assert not recwarn.list
    torch.save({"w": torch.ones(2)}, tmp_path / "good.pth")
    state, digest = read_with_digest(tmp_path / "good.pth")
    assert state["w"].tolist() == [1.0, 1.0]
    assert read_weights(tmp_path / "good.pth")["w"].tolist() == [1.0, 1.0]
    assert digest == hashlib.sha256((tmp_path / "good.pth").read_bytes()).hexdigest()


def test_safetensors_are_mapped_where_no_digest_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"module.w": torch.arange(100_000.0)}, path)
    before = mapped(path)
    state = read_weights(path)
    assert (before, mapped(path)) == (False, True)
    again, _ = read_with_digest(path)
    assert torch.equal(state["w"], again["w"])


def mapped(path: Path) -> bool:
    """Whether this process has the file mapped into memory."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("needs Linux")
    return str(path) in maps.read_text()
