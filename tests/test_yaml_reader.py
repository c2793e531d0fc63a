"""What YAML may hold: plain values, few enough, and a sentence for the rest."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from plenish import cli
from plenish.errors import InputError
from plenish.yaml_reader import parse_yaml, read_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)


def test_references_are_taken() -> None:
    assert parse_yaml("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}", "it") == {
        "a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2},
    }  # fmt: skip
    assert parse_yaml("", "it") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "it stands for more than 100,000 values"),
        ("[" * 50_000, "it is nested too deeply"),
        ("a: &a [*a]", "it is nested too deeply, or in itself"),
        ("a: 2024-13-45", "it is not YAML"),
        ("a: 1\nb: 2\na: 3", r"it is not YAML \('a' is given twice, line 3\)"),
        ("a: !!bool x", "it is not YAML"),
        ("a: !!int ''", "it is not YAML"),
        ("a: !!timestamp x", "it is not YAML"),
        ("a: *b", r"it is not YAML \(found undefined alias"),
        ("a: 1\nb: [", r"it is not YAML \(.*, line 2\)"),
        ("!!python/object/apply:os.system [id]", "it is not YAML"),
        ("a: {[1]: 2}", "it is not YAML"),
        ("a\x00", "it is not YAML"),
    ],
)
def test_what_cannot_be_used_is_a_sentence_at_once(text: str, words: str) -> None:
    begun = time.monotonic()
    with pytest.raises(InputError, match=words):
        parse_yaml(text, "it")
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "verb", [["phantom", "OUT"], ["recipe", "show", "FILE"], ["train", "queue", "FILE", "X", "OUT"]]
)
def test_on_the_command_line(verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.yaml").write_text(BOMB)
    words = [
        {"OUT": str(tmp_path / "out"), "FILE": str(tmp_path / "x.yaml")}.get(word, word) for word in verb
    ]
    assert cli.run([*words, *(["--config", str(tmp_path / "x.yaml")] if "FILE" not in verb else [])]) == 2
    assert "x.yaml stands for more than 100,000 values" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    for path, words in ((tmp_path / "x.yaml", "is not a text file"), (tmp_path, "cannot be read")):
        with pytest.raises(InputError, match=words):
            read_yaml(path, "The recipe")
