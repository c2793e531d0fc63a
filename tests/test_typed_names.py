"""Messages name an option as it was typed."""

from __future__ import annotations

from typing import Any

import pytest

from plenish import cli


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "autoencoder", "--denoise", "-1"], "--denoise must"),
        (["train", "autoencoder", "--training.denoise", "-1"], "training.denoise must"),
        (["train", "gan", "--recipe", "flow-small", "--width", "8"], "--width must be at least 16"),
        (["train", "gan", "--recipe", "flow-small", "--options", "network.width=8"], "network.width must"),
    ],
)
def test_the_option_is_named_as_typed(
    words: list[str], said: str, stripes: Any, tmp_path: Any, capsys: Any
) -> None:
    verb, more = words[:2], words[2:]
    assert cli.run([*verb, str(stripes().path), str(tmp_path / "run"), *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_ratios_that_are_scaled_are_said(stripes: Any, capsys: Any) -> None:
    data = stripes(split=False)
    assert cli.run(["split", str(data.path), "--ratios", "2", "1", "1"]) == 0
    assert "--ratios 2 1 1 add up to 4 and are scaled to 0.5 0.25 0.25." in capsys.readouterr().err


def test_a_queue_without_its_kind_is_told(stripes: Any, tmp_path: Any, capsys: Any) -> None:
    (tmp_path / "queue.yaml").write_text("variants: {one: {}}\n", encoding="utf-8")
    words = ["train", "queue", str(tmp_path / "queue.yaml"), str(stripes().path), str(tmp_path / "out")]
    assert cli.run(words) == 2
    assert "add the line 'kind: autoencoder-queue'" in capsys.readouterr().err
