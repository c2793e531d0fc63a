"""Checkpoints: safetensors and JSON in a folder, whole, checksummed, and read without pickle.

A checkpoint `kimg-00012.800/` holds one safetensors file for each network and optimiser, `state.json`, and
`manifest.json` with every file's SHA-256. It is written aside, flushed and renamed. What only looks for
checkpoints does not load torch.
"""

from __future__ import annotations

import functools
import math
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish import files
from plenish.errors import InputError, first_line, unknown
from plenish.progress import warn
from plenish.wording import plural

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from plenish.runs import Run

_PREFIX = "kimg-"


def checkpoint_name(nimg: int) -> str:
    """Folder name after `nimg` images; names sort in the order of training."""
    return f"{_PREFIX}{nimg / 1000:09.3f}"


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as flat names: `<parameter number>.<moment>`."""
    import torch

    state = optimiser.state_dict()["state"]
    return {
        f"{number}.{key}": torch.as_tensor(value)
        for number, moments in state.items()
        for key, value in moments.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put saved moments back, in each parameter's own memory layout.

    safetensors drops strides; a fused Adam on channels_last parameters would then pair each weight with
    another weight's moments.
    """
    import torch

    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    optimiser.state.clear()
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        # A fused optimiser keeps its step counter beside the parameter.
        optimiser.state[parameter][key] = value.to(parameter.device)


def save_checkpoint(
    folder: Path,
    nimg: int,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
    state: Mapping[str, Any],
) -> Path:
    """Write a checkpoint.

    Args:
        folder: the Run's `checkpoints/`.
        nimg: images seen.
        modules: networks by name.
        optimisers: optimisers by name.
        state: JSON-able counters.

    Returns:
        The checkpoint's folder.

    Raises:
        InputError: the disk is full or may not be written; nothing half-written stays.
    """
    from safetensors.torch import save

    final = folder / checkpoint_name(nimg)
    if final.exists():
        shutil.rmtree(final)
    tensors = {name: module.state_dict() for name, module in modules.items()}
    tensors |= {name: optimiser_tensors(optimiser) for name, optimiser in optimisers.items()}
    files.require_space(folder, sum(t.nbytes for group in tensors.values() for t in group.values()))
    partial = final.with_name(final.name + ".partial")
    try:
        with files.reporting_disk(partial):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for name, group in tensors.items():
                content = save({key: value.detach().cpu().contiguous() for key, value in group.items()})
                files.write_bytes(partial / f"{name}.safetensors", content)
            files.write_record(partial / "state.json", {"nimg": nimg, **state})
            written = [*(f"{name}.safetensors" for name in tensors), "state.json"]
            manifest = {name: files.sha256_file(partial / name) for name in written}
            files.write_record(partial / "manifest.json", manifest)
            partial.rename(final)
            files.flush_folder(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return final


def intact(checkpoint: Path) -> bool:
    """Whether every file of a checkpoint is there and matches its checksum."""
    try:
        manifest = files.read_record(checkpoint / "manifest.json")
        return bool(manifest) and all(
            files.sha256_file(checkpoint / name) == digest for name, digest in manifest.items()
        )
    except (OSError, InputError):
        return False


def list_checkpoints(folder: Path) -> list[Path]:
    """All checkpoints, oldest first, intact or not; remains of interrupted writing are not among them."""
    return sorted(p for p in folder.glob(f"{_PREFIX}*") if p.is_dir() and not p.name.endswith(".partial"))


def newest_intact(folder: Path, before: float = math.inf) -> Path | None:
    """The newest checkpoint whose checksums hold; damaged ones are skipped with a warning.

    Args:
        folder: the Run's `checkpoints/`.
        before: only what was saved before this many kimg.
    """
    damaged: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        if float(path.name.removeprefix(_PREFIX)) >= before:
            continue
        if intact(path):
            if damaged:
                _warn_once(f"{folder}: {', '.join(damaged)} damaged and skipped; {path.name} is used.")
            return path
        damaged.append(path.name)
    if damaged:
        _warn_once(f"{folder}: {', '.join(damaged)} damaged.")
    return None


@functools.cache
def _warn_once(text: str) -> None:
    warn(text)


def find_checkpoint(run: Run, name: str) -> Path:
    """A checkpoint of a Run.

    Args:
        run: a Run that trains networks.
        name: `best` on the val part (the newest where none was scored), `last`, or a checkpoint's name.

    Raises:
        InputError: there is none yet or none of that name, or it is damaged.
    """
    folder = run.path / "checkpoints"
    best = run.status.get("best", {}).get("checkpoint")
    if name == "best" and best and intact(folder / best):
        return folder / str(best)
    if name in ("best", "last"):
        newest = newest_intact(folder)
        if newest is None:
            raise InputError(none_intact(run))
        if name == "best" and best:
            _warn_once(f"the best checkpoint {folder / best} is damaged or gone; {newest.name} is used.")
        return newest
    names = [path.name for path in list_checkpoints(folder)]
    if name not in names:
        raise unknown(f"checkpoint of {run.path}", name, ["best", "last", *names])
    if not intact(folder / name):
        raise InputError(f"{folder / name} is damaged; use another checkpoint.")
    return folder / name


def none_intact(run: Run) -> str:
    """A sentence for a Run without a checkpoint that can be used."""
    count = len(list_checkpoints(run.path / "checkpoints"))
    if count:
        return (
            f"{run.path} has {plural(count, 'checkpoint')}, and none is whole; restore one from a copy, or "
            "train in another folder."
        )
    return f"{run.path} has no checkpoint; the command that made it, given again, trains it."


def drop_behind(folder: Path, last: Path | None) -> None:
    """Remove every checkpoint newer than `last`; all of them where that is None."""
    for path in list_checkpoints(folder):
        if last is None or path.name > last.name:
            shutil.rmtree(path)


def load_state(checkpoint: Path) -> dict[str, Any]:
    """The counters of a checkpoint."""
    content: dict[str, Any] = files.read_record(checkpoint / "state.json")
    return content


def load_module(checkpoint: Path, name: str, module: nn.Module) -> None:
    """Load a network's weights in place, keeping its memory layout.

    Raises:
        InputError: the file is missing, damaged, of another network, or holds numbers that are not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = checkpoint / f"{name}.safetensors"
    try:
        tensors = load_file(path)
        unfit = [key for key, value in tensors.items() if not bool(torch.isfinite(value).all())]
        if unfit:
            raise InputError(
                f"{path} holds weights that are not finite numbers ({unfit[0]}); use another checkpoint of "
                "the Run."
            )
        module.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(
            f"{path} cannot be loaded ({first_line(error)}); use another checkpoint of the Run."
        ) from None


def restore_checkpoint(
    checkpoint: Path, modules: Mapping[str, nn.Module], optimisers: Mapping[str, torch.optim.Optimizer]
) -> dict[str, Any]:
    """Load everything `save_checkpoint` wrote, in place, and return the counters."""
    from safetensors.torch import load_file

    for name, module in modules.items():
        load_module(checkpoint, name, module)
    for name, optimiser in optimisers.items():
        restore_optimiser(optimiser, load_file(checkpoint / f"{name}.safetensors"))
    return load_state(checkpoint)


def superfluous(folder: Path, keep: int, protect: Collection[str] = ()) -> list[Path]:
    """The checkpoints older than the newest `keep` intact ones, without the protected."""
    kept = [path for path in reversed(list_checkpoints(folder)) if intact(path)][:keep]
    oldest = kept[-1].name if kept else ""
    return [path for path in list_checkpoints(folder) if path.name < oldest and path.name not in protect]


def prune_checkpoints(folder: Path, keep: int, protect: Collection[str] = ()) -> list[Path]:
    """Remove all but the newest `keep` intact checkpoints and the protected; returns what was removed."""
    removed = superfluous(folder, keep, protect)
    for path in removed:
        shutil.rmtree(path)
    for leftover in folder.glob(f"{_PREFIX}*.partial"):
        shutil.rmtree(leftover)
    return removed


def last_good(run: Run) -> Path | None:
    """The newest intact checkpoint; of a training that failed, the newest from before the failure began."""
    status = run.status
    since = float(status.get("failed_since", math.inf)) if status.get("state") == "diverged" else math.inf
    return newest_intact(run.path / "checkpoints", before=since)


def last_sentence(newest: Path | None) -> str:
    """Where the last good checkpoint is, in words."""
    return f"Last good checkpoint: {newest}." if newest else "There is no good checkpoint yet."
