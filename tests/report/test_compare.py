"""Generators side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from plenish import cli
from plenish.commands.compare import compare_runs
from plenish.commands.train_generator import train_generator
from plenish.errors import InputError
from plenish.report.compare import _averaged
from plenish.report.pictures import pick

GROWING = [
    "network.width=4", "network.max_width=8", "network.min_width=4", "growth.start=8",
    "growth.fade_kimg=0.02", "growth.stable_kimg=0.02", "schedule.sample_kimg=0.02",
]  # fmt: skip
PLAIN = ["network.width=4", "network.max_width=8", "network.z_dim=8", "schedule.sample_kimg=0.02"]


@pytest.mark.usefixtures("words_of_charts")
def test_a_page_of_two_methods(stripes: Any, tmp_path: Path) -> None:
    data = stripes(size=16)
    how = {"validation": False, "batch": 4}
    for kimg in (0.012, 0.06):
        train_generator(
            data.path, tmp_path / "grown", recipe="comic-progan-body", kimg=kimg, options=GROWING, **how
        )
        if kimg == 0.012:  # In the middle of its first stage.
            compare_runs([tmp_path / "grown", tmp_path / "early"], images=4)
            assert Image.open(tmp_path / "early/stages-grown.png").height == 2 * (96 + 6) + 6
    train_generator(data.path, tmp_path / "plain", recipe="dcgan-small", kimg=0.04, options=PLAIN, **how)

    done = compare_runs([tmp_path / "grown", tmp_path / "plain", tmp_path / "out"], images=4, times=3)

    out = tmp_path / "out"
    assert done.summary()["pictures"] == ["evolution-grown.png", "evolution-plain.png", "methods.png",
                                          "stages-grown.png"]  # fmt: skip
    content = json.loads((out / "compare.json").read_text())
    assert [(row["run"], row["family"]) for row in content["runs"]] == [
        ("grown", "progan"),
        ("plain", "dcgan"),
    ]
    assert Image.open(out / "stages-grown.png").height == 4 * (96 + 6) + 6  # 8 and 16 px, made and real.
    page = (out / "compare.html").read_text()
    assert "Side by side" in page
    assert "Resolution by resolution" in page
    assert str(tmp_path) not in page.replace(f"{tmp_path}/grown", "").replace(f"{tmp_path}/plain", "")
    # Three rows of four images of 96 px each: two Runs and real ones.
    assert Image.open(out / "methods.png").height == 3 * (96 + 6) + 6
    with pytest.raises(InputError, match=r"already exists|has made it"):
        compare_runs([tmp_path / "grown", out], images=5)

    shutil.rmtree(data.path)
    done = compare_runs([tmp_path / "plain", tmp_path / "alone"], images=4)
    assert "plain is shown without real images" in done.remarks[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare", "OUT"], "Give Runs of generators and behind them OUT"),
        (["compare", "none", "OUT"], "does not exist"),
        (["compare", "none", "OUT", "--images", "1"], "at least 2"),
    ],
)
def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert cli.run([str(tmp_path / word) if word in ("OUT", "none") else word for word in words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_given_twice_is_refused(tmp_path: Path, stripes: Any) -> None:
    run = train_generator(stripes(size=16).path, tmp_path / "run", recipe="dcgan-small", kimg=0.01, batch=4,
                          validation=False, options=PLAIN)  # fmt: skip
    with pytest.raises(InputError, match="given twice"):
        compare_runs([run.path, run.path, tmp_path / "out"])


def test_real_images_are_averaged_to_a_stage() -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    expected = np.array(
        [[2, 2, 4, 4], [2, 2, 4, 4], [10, 10, 12, 12], [10, 10, 12, 12]]
    )  # 2.5 and 4.5 are even.
    np.testing.assert_array_equal(_averaged(pixels, 2)[0, ..., 0], expected)
    assert pick(10, 3) == [0, 4, 9]
