"""What a training leaves to look at: the spread of samples, and both logs alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from plenish.commands.train_generator import train_gan
from plenish.training.logs import spread

CONFUSION = ("real_as_real", "real_as_fake", "fake_as_fake", "fake_as_real")
OPTIONS = ["network.width=4", "network.max_width=8", "network.z_dim=8", "schedule.log_kimg=0.05"]


def test_spread_within_labels() -> None:
    """The root mean square of deviations from the mean of all, or from that of the images of one label."""
    values = np.array([10, 14, 110, 114], np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (4, 3, 3, 1))
    y = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    assert spread(images, y) == pytest.approx(2.0)
    assert spread(images) == pytest.approx(np.std([10, 14, 110, 114]))
    assert spread(images, np.eye(4, dtype=np.float32)) == spread(images)


def test_both_logs_hold_everything(stripes, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train_gan(
        stripes().path, tmp_path / "run", recipe="dcgan", kimg=0.3, batch=10, checkpoint_kimg=0.2,
        validation=False,
        options=[*OPTIONS, "schedule.sample_kimg=0.1"],
    )  # fmt: skip
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    table = [line for line in lines if "loss_d" in line]
    layers = {name for name in table[0] if "/" in name}
    assert len(layers & {f"grad_g/{n}" for n in ("project", "ups.0", "ups.1")}) == 3
    assert len([name for name in layers if name.startswith("grad_d/")]) >= 3
    wanted = {
        "loss_g", "loss_d", "d_accuracy_real", "d_accuracy_fake", "grad_g", "grad_d", "images_per_s",
        *CONFUSION, *layers,
    }  # fmt: skip
    assert all(wanted <= set(line) for line in table)
    assert [line["kimg"] for line in table] == pytest.approx([0.05 * (i + 1) for i in range(6)])
    assert all(line["images"] == 50 for line in table)
    assert all(line["real_as_real"] + line["real_as_fake"] == pytest.approx(1) for line in table)

    board = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"images": 0}).Reload()
    for name in wanted:
        events = board.Scalars(name)
        assert [event.step for event in events] == [round(1000 * line["kimg"]) for line in table]
        assert [event.value for event in events] == pytest.approx([line[name] for line in table], rel=1e-5)
    assert [e.step for e in board.Images("confusion of the discriminator")] == [100, 200, 300]
    assert [e.step for e in board.Images("samples")] == [0, 100, 200, 300]
