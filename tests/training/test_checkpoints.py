from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from plenish import files
from plenish.cli import VERBS
from plenish.errors import InputError
from plenish.runs import Run
from plenish.training import checkpoints


def _trained(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), 0.01, fused=True)
    for _ in range(3):
        _train(network, optimiser)
    return network, optimiser


def _train(network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    x = torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)
    network(x).square().sum().backward()
    optimiser.step()


def _save(folder: Path, nimg: int, seed: int = 0) -> Path:
    network, optimiser = _trained(seed)
    return checkpoints.save_checkpoint(folder, nimg, {"g": network}, {"opt_g": optimiser}, {"attempt": 2})


def test_the_next_step_after_loading_is_the_same(tmp_path: Path) -> None:
    network, optimiser = _trained()
    saved = checkpoints.save_checkpoint(
        tmp_path, 12_800, {"g": network}, {"opt_g": optimiser}, {"attempt": 2}
    )
    other, its_optimiser = _trained(seed=1)
    state = checkpoints.restore_checkpoint(saved, {"g": other}, {"opt_g": its_optimiser})
    assert state == {"nimg": 12_800, "attempt": 2}
    for moments, parameter in zip(its_optimiser.state.values(), other.parameters(), strict=True):
        assert moments["exp_avg"].stride() == parameter.stride()
    _train(network, optimiser)
    _train(other, its_optimiser)
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("harm", ["truncate", "alter", "remove", "no manifest", "empty manifest"])
def test_a_damaged_newest_is_skipped_with_a_warning(
    tmp_path: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = _save(tmp_path, 1000), _save(tmp_path, 2000)
    target = bad / "g.safetensors"
    if harm == "truncate":
        target.write_bytes(target.read_bytes()[:-10])
    elif harm == "alter":
        content = bytearray(target.read_bytes())
        content[-1] ^= 1
        target.write_bytes(bytes(content))
    elif harm == "remove":
        target.unlink()
    elif harm == "no manifest":
        (bad / "manifest.json").unlink()
    else:
        (bad / "manifest.json").write_text("{}")
    assert checkpoints.newest_intact(tmp_path) == good
    told = capsys.readouterr().err
    assert f"{bad.name} damaged and skipped; {good.name} is used" in told
    assert checkpoints.newest_intact(tmp_path) == good
    assert not capsys.readouterr().err, "it is told once"


def test_half_written_ones_are_not_seen(tmp_path: Path) -> None:
    good = _save(tmp_path, 1000)
    (tmp_path / "kimg-00002.000.partial").mkdir()
    assert checkpoints.list_checkpoints(tmp_path) == [good]
    checkpoints.prune_checkpoints(tmp_path, 1)
    assert [p.name for p in tmp_path.iterdir()] == [good.name]


def test_pruning_keeps_the_newest_and_the_protected(tmp_path: Path) -> None:
    paths = [_save(tmp_path, n * 1000) for n in range(5)]
    checkpoints.prune_checkpoints(tmp_path, 2, {paths[1].name})
    assert checkpoints.list_checkpoints(tmp_path) == [paths[1], paths[3], paths[4]]


def test_names_sort_like_numbers() -> None:
    counts = [0, 64, 999, 1000, 25_000, 99_999_936]
    names = [checkpoints.checkpoint_name(n) for n in counts]
    assert names == sorted(names)


def test_a_full_disk_leaves_no_half_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = _save(tmp_path, 1000)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_json", full)
    with pytest.raises(InputError, match="No space left"):
        _save(tmp_path, 2000)
    assert list(tmp_path.iterdir()) == [good]


def test_weights_of_another_network_are_told(tmp_path: Path) -> None:
    saved = _save(tmp_path, 1000)
    with pytest.raises(InputError, match=r"g\.safetensors"):
        checkpoints.load_module(saved, "g", nn.Linear(2, 2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_told(tmp_path: Path, value: float) -> None:
    network, optimiser = _trained()
    network.get_parameter("1.bias").data[1] = value
    saved = checkpoints.save_checkpoint(tmp_path, 1000, {"g": network}, {"opt": optimiser}, {})
    assert checkpoints.intact(saved)
    with pytest.raises(InputError, match=r"g\.safetensors .* not finite numbers \(1\.bias"):
        checkpoints.load_module(saved, "g", network)


def test_no_file_of_a_checkpoint_is_a_pickle(tmp_path: Path) -> None:
    saved = _save(tmp_path, 1000)
    assert {p.suffix for p in saved.iterdir()} == {".safetensors", ".json"}
    assert not any(p.read_bytes()[:2] in (b"PK", b"\x80\x02", b"\x80\x04") for p in saved.iterdir())


@pytest.mark.parametrize("kind", ["generator", "classifier", "translation", "perturber"])
def test_a_run_without_a_checkpoint_is_sent_to_no_verb_that_does_not_exist(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint") as told:
        checkpoints.find_checkpoint(Run.create(tmp_path / "run", kind, {}), "best")
    assert all(verb in VERBS for verb in re.findall("plenish ([a-z ]+)", str(told.value)))
