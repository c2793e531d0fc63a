"""What reaches a terminal: no commands to it, nothing its encoding lacks, no traceback from closed pipes."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from plenish import cli
from plenish.terminal import clean, json_text

PLENISH = [sys.executable, "-m", "plenish"]
RED = "\x1b[31mred\x1b[0m\x07\x9b2J\u202egnp.exe"


def test_control_characters_become_escapes():
    assert clean(RED) == r"\x1b[31mred\x1b[0m\x07\x9b2J\u202egnp.exe"
    assert clean("a\tb\nc é 漢 'ß'") == "a\tb\nc é 漢 'ß'"
    assert clean("a\rb\u2028c") == r"a\rb\u2028c"
    assert json.loads(json_text({RED: [RED]})) == {RED: [RED]}
    assert clean(json_text({RED: [RED]})) == json_text({RED: [RED]})


@pytest.fixture
def hostile(tmp_path):
    """A folder whose classes would talk to the terminal, and its Dataset."""
    for name in (RED, "plain"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (16, 16), (40 * i, 0, 0)).save(tmp_path / "in" / name / f"{i}.png")
    (tmp_path / "in" / RED / "3.png").write_text("broken\x1b[2J")
    (tmp_path / "in" / f"{RED}.heic").write_text("x")
    return tmp_path


def test_names_from_outside_do_not_reach_the_terminal_as_commands(hostile, capfd):
    commands = [
        ["import", str(hostile / "in"), str(hostile / "data"), "--size", "16"],
        ["split", str(hostile / "data")],
        ["profile", str(hostile / "data"), str(hostile / "profile")],
        ["profile", str(hostile / "data"), str(hostile / "other"), "--json"],
        ["import", str(hostile / f"absent{RED}"), str(hostile / "x")],
        ["import", str(hostile / "in"), str(hostile / "y"), f"--{RED}"],
        [RED],
        ["runs", "list", str(hostile / RED)],
        ["train", RED],
    ]
    for words in commands:
        assert cli.run(words) in (0, 2, 3), words
        out, err = capfd.readouterr()
        assert out + err == "".join(c for c in out + err if c in "\t\n" or c.isprintable()), words
    assert r"\x1b[31mred" in (hostile / "profile/profile.json").read_text(encoding="utf-8").replace(
        "u001b", "x1b"
    )


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["recipe", "list"], ["recipe", "list", "--json"], ["runs"]]
)
def test_a_closed_pipe_is_no_error(words):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*PLENISH, *words], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert done.returncode == (2 if words == ["runs"] else 0)


def test_closed_streams_are_no_error(tmp_path):
    for closed in ("2>&-", ">&-", ">&- 2>&-"):
        line = f"'{sys.executable}' -m plenish --version {closed}"
        done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), closed
    line = f"'{sys.executable}' -m plenish import absent out 2>&-"
    assert subprocess.run(line, shell=True, check=False, cwd=tmp_path).returncode == 2


def test_an_encoding_without_a_character_shows_its_escape(hostile):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    made = str(hostile / "é漢")
    for words in (["--help"], ["import", str(hostile / "in"), made, "--size", "16", "--json"]):
        done = subprocess.run([*PLENISH, *words], capture_output=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()
        assert done.stderr.isascii()
    assert json.loads(done.stdout)["dataset"] == made
    assert (
        rb"\xe9\u6f22"
        in subprocess.run(
            [*PLENISH, "split", str(hostile / "é漢!")], capture_output=True, env=environment, check=False
        ).stderr
    )


def test_an_internal_error_needs_no_temporary_folder(monkeypatch, capfd):
    def fail(*_):
        raise RuntimeError("\x1b[31mno")

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert cli.run(["recipe", "list"]) == 1
    assert "details in" in capfd.readouterr().err

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli.tempfile, "NamedTemporaryFile", full)
    assert cli.run(["recipe", "list"]) == 1
    told = capfd.readouterr().err
    assert r"internal error: RuntimeError: \x1b[31mno" in told
    assert "Traceback" not in told.splitlines()[0]
    assert len(told.splitlines()) == 1
