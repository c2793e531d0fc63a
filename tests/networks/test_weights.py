"""Files of weights: what is none is refused in one sentence of ours, and no code runs."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from plenish.errors import InputError
from plenish.networks.weights import read_weights


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
    ours = "is not a file of weights, or is damaged; give an intact .safetensors or .pth state dict."
    for name in ("a.pth", "b.safetensors", "d.pth", "e.pth", "f.zip", "g.pth"):
        with pytest.raises(InputError) as caught:
            read_weights(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name} {ours}"
    for name in ("c.pth", "missing.pth"):
        with pytest.raises(InputError, match=name):
            read_weights(tmp_path / name)
    assert not (tmp_path / "owned").exists()
    assert not recwarn.list
    torch.save({"w": torch.ones(2)}, tmp_path / "good.pth")
    state, digest = read_weights(tmp_path / "good.pth")
    assert state["w"].tolist() == [1.0, 1.0]
    assert digest == hashlib.sha256((tmp_path / "good.pth").read_bytes()).hexdigest()
