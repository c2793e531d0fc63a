from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plenish import __version__, cli, files, settings
from plenish.examples import EXAMPLES
from plenish.invocation import REQUIRED, command
from plenish.options import read_options
from plenish.recipes import AUTO, load_recipe
from plenish.runs import Run
from plenish.wording import Sentences

LIST = command("runs list", positional=("folder",))
HEAVY = ("torch", "pandas", "matplotlib", "timm", "torchvision", "scipy")


def _modules_after(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint('|'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stderr.split("|"))


def test_help_imports_nothing_heavy() -> None:
    loaded = _modules_after("from plenish.cli import run\nassert run(['--help']) == 0")
    assert not loaded & {*HEAVY, "argparse", "rich", "numpy"}


LOADED = """
import contextlib, io, json, sys
from plenish.cli import run

found = []
for words in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = run(words)
    found.append((code, said.getvalue(), sorted({"torch", "timm", "matplotlib"} & set(sys.modules))))
print(json.dumps(found))
"""


def _run_in_one_process(lines: list[list[str]]) -> list[list[Any]]:
    """Exit code, standard error and heavy modules loaded so far, after each of the command lines.

    One process saves most of their time; the first that loads such a module fails, with those behind it.
    """
    words = [sys.executable, "-c", LOADED, json.dumps(lines)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.fixture(scope="module")
def after_help() -> dict[str, list[Any]]:
    return dict(zip(cli.VERBS, _run_in_one_process([[*v.split(), "--help"] for v in cli.VERBS]), strict=True))


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_every_verb_has_help_without_torch(
    verb: str, after_help: dict[str, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert after_help[verb] == [0, "", []]
    assert cli.run([*verb.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert "--device" in text
    command = cli.load_command(verb)
    for parameter in command.parameters.values():
        assert command.option(parameter.name) in text or parameter.name in text
        assert parameter.about


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["studdy"], "did you mean 'study'"),
        (["runs", "lst"], "did you mean 'list'"),
        (["--quiet", "runs", "lst"], "did you mean 'list'"),
        (["--quiet"], "lacks a verb"),
        (["--keep", "3", "runs", "prune", "."], "'--keep' belongs behind a verb"),
        (["runs"], "needs one more word: list, tree, show, rm, prune"),
        (["runs", "prune"], "needs folder"),
        (["runs", "prune", ".", "--kep", "3"], "did you mean '--keep'"),
        (["runs", "prune", ".", "--keep", "many"], "--keep must be a whole number, not many."),
        (["generate", "a", "b", "-n", "many"], "plenish: -n must be a whole number, not many."),
        (["edit", "flip", "a", "b", "--seeds", "1", "one"], "--seeds must be a whole number, not one."),
        (
            ["generate", "a", "b", "--seed", "9" * 20],
            "--seed must be at least 0 and below 9223372036854775808, not 9999",
        ),
        (["train", "gan", "a", "b", "--retry", "maybe"], "--retry must be true or false, not maybe."),
        (["train", "gan", "a", "b", "--conditional", "maybe"], "--conditional must be true or false, not"),
        (["export", "a", "b", "--as", "gif"], "--as must be one of folder, "),
        (["runs", "prune", ".", "--keep"], "--keep needs a value"),
        (["runs", "show", "nowhere"], "does not exist"),
        (["recipe", "show", "dcgna"], "did you mean 'dcgan'"),
        (["runs", "list", ".", "--device", "gpu", "--precision", "float8"], "float32"),
        (["runs", "list", "--config", "missing.yaml"], "missing.yaml"),
    ],
)
def test_bad_words_get_one_sentence_and_exit_code_2(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(words) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert "\n" not in said
    assert "Traceback" not in said


def test_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Run.create(tmp_path / "a", "generator", {"recipe": "dcgan"})
    assert cli.run(["runs", "list", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["kind"] == "generator"


def test_a_folder_may_come_bare_or_as_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([str(tmp_path)], ["--folder", str(tmp_path)], [f"--folder={tmp_path}"]):
        assert cli.run(["runs", "list", *words]) == 0


@pytest.mark.parametrize(
    "leading",
    [["--json"], ["--device", "cpu", "--json"], ["--threads=1", "--json"], ["--deterministic", "--json"]],
)
def test_options_of_every_verb_may_come_first(
    leading: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*leading, "runs", "list", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == {"runs": []}


@pytest.mark.parametrize("words", [["runs", "list", "."], ["recipe", "run", "tcga-autoencoders", "a", "b"]])
def test_verbs_that_are_not_trainings_refuse_several_processes(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.run(words) == 2
    assert "WORLD_SIZE is 2" in capsys.readouterr().err
    for verb in (["train", "generator"], ["train", "classifier"], ["recipe", "run", "dcgan"]):
        assert cli.run([*verb, "no-such-data", "run"]) == 2  # Its own refusal.
        assert "no-such-data" in capsys.readouterr().err


def test_an_option_behind_the_verb_outdoes_the_same_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(folder: Path = Path()) -> None:
        seen.append((settings.current().threads, folder))

    monkeypatch.setattr("plenish.commands.runs.list_runs", LIST(look))
    assert cli.run(["--threads", "1", "runs", "list", str(tmp_path), "--threads", "3"]) == 0
    assert cli.run(["--threads", "1", "runs", "list", str(tmp_path)]) == 0
    assert seen == [(3, tmp_path), (1, tmp_path)]


@pytest.mark.parametrize("leading", [[], ["--quiet"], ["--device", "cpu", "--json"]])
def test_version_and_help_behind_options_of_every_verb(
    leading: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*leading, "--version"]) == 0
    assert capsys.readouterr().out == f"plenish {__version__}\n"
    assert cli.run([*leading, "--help"]) == 0
    assert "usage: plenish VERB" in capsys.readouterr().out


def test_a_folder_without_runs_is_said_to_have_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["runs", "list", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no Runs in {tmp_path}\n"


def test_options_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "options.yaml").write_text("keep: 0\n")
    assert cli.run(["runs", "prune", str(tmp_path), "--config", str(tmp_path / "options.yaml")]) == 2
    assert "at least 1, not 0" in capsys.readouterr().err


def test_an_internal_error_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(folder: Path = Path()) -> None:
        raise RuntimeError("wires crossed")

    monkeypatch.setattr("plenish.commands.runs.list_runs", LIST(broken))
    assert cli.run(["runs", "list"]) == 1
    said = capsys.readouterr().err
    assert "wires crossed" in said
    assert "Traceback" not in said
    Path(said.split("details in ")[1].split(";")[0]).unlink()


def test_names_are_not_read_as_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Run.create(tmp_path / "[red]x[-red]", "generator", {"recipe": "[bold]"})
    assert cli.run(["runs", "show", str(tmp_path / "[red]x[-red]")]) == 0
    assert "[bold]" in capsys.readouterr().out


WRONG = [
    ("train gan data run --batch 0", "--batch must be at least 2, not 0."),
    ("train gan data run --kimg 0", "--kimg must be a number above 0, not 0."),
    ("train gan data run --width 0", "--width must be at least 1, not 0."),
    ("train gan data run --lr -1", "--lr must be a number above 0, not -1."),
    ("split data --ratios 0.7 0.15 abc", "--ratios must be a number, not abc."),
    ("train gan data run --threads 0", "--threads must be at least 1, not 0."),
    ("train gan data run --device gpu", "Unknown --device 'gpu'"),
    ("study data out --arms reel", "Unknown arm 'reel'"),
    ("generate run out -n 0", "-n must be at least 1"),
    ("generate nowhere out", "nowhere does not exist"),
]


@pytest.fixture(scope="module")
def after_wrong_values() -> dict[str, list[Any]]:
    lines = [words for words, _ in WRONG]
    return dict(zip(lines, _run_in_one_process([line.split() for line in lines]), strict=True))


@pytest.mark.parametrize(("words", "sentence"), WRONG)
def test_wrong_values_are_refused_without_torch(
    words: str, sentence: str, after_wrong_values: dict[str, list[Any]]
) -> None:
    code, said, loaded = after_wrong_values[words]
    assert sentence in said
    assert code == 2
    assert "torch" not in loaded


def _made_by(verb: str) -> str | None:
    """The parameter that names what a verb makes."""
    is_training = verb == "harden" or verb.startswith("train ")
    return "out" if "out" in cli.load_command(verb).parameters else "run" if is_training else None


def _words_with_out(verb: str, place: Path, out: Path) -> list[str]:
    """A line with all that the verb needs: what it makes is `out`, and what it reads is not there."""
    command, made, absent = cli.load_command(verb), _made_by(verb), str(place / "absent")
    words = [str(out) if p.name == made else absent for p in command.bare]
    for parameter in command.parameters.values():
        is_needed = parameter.name == "against" or parameter.default is REQUIRED
        if is_needed and parameter not in command.bare:
            words += [command.option(parameter.name), absent]
    return [*verb.split(), *words, *([] if str(out) in words else ["--out", str(out)])]


MAKING = [verb for verb in sorted(cli.VERBS) if _made_by(verb)]
DRY = [verb for verb in MAKING if "dry_run" in cli.load_command(verb).parameters]


@pytest.mark.parametrize("verb", MAKING)
def test_a_place_that_takes_nothing_is_refused_before_any_work(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "inner" / "x.png"
    # What is read is not there either; that the place is refused first shows that nothing was done before.
    assert cli.run(_words_with_out(verb, tmp_path, out)) == 2
    said = capsys.readouterr().err
    assert str(out) in said
    assert "not a folder" in said


@pytest.mark.parametrize("verb", DRY)
def test_a_dry_run_needs_no_place_that_can_be_written(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = _words_with_out(verb, tmp_path, tmp_path / "file" / "x")
    steps = ["--drop", "duplicates"] if verb == "curate" else []  # It looks for them before its data.
    assert cli.run([*words, *steps, "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert "absent" in said
    assert str(tmp_path / "file") not in said


def test_a_file_option_takes_the_next_word_only_if_it_is_a_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"")
    command = cli.load_command("train classifier")
    for words, value in [
        ("--pretrained data run", True),
        ("data --pretrained run", True),
        ("data run --pretrained", True),
        ("data run --pretrained --steps 3", True),
        ("--pretrained true data run", True),
        ("--pretrained False data run", False),
        ("--pretrained=false data run", False),
        ("--no-pretrained data run", False),
        ("data run --pretrained --no-pretrained", False),
        (f"--pretrained {weights} data run", weights),
        (f"data run --pretrained={weights}", weights),
        ("data run", None),
    ]:
        values, _ = read_options("plenish train classifier", command, words.split())
        assert (values["data"], values["run"]) == (Path("data"), Path("run")), words
        assert values.get("pretrained") == value, words
    for words in (
        "data run --pretrained maybe",
        "--pretrained maybe data run",
        "data --pretrained maybe run",
    ):
        assert cli.run(["train", "classifier", *words.split()]) == 2
        assert "--pretrained must be true, false or a file, and maybe is none" in capsys.readouterr().err


def test_sentences_are_a_list_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    with settings.use(json=True):
        cli._print({"doubts": Sentences(["Few groups."]), "none": Sentences()})
    assert json.loads(capsys.readouterr().out) == {"doubts": ["Few groups."], "none": []}


@pytest.mark.parametrize(
    ("begun", "sentence"),
    [(False, "interrupted; nothing was written."), (True, "interrupted; the same command resumes it")],
)
def test_an_interrupt_says_whether_there_is_something_to_go_on_from(
    begun: bool,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stopped(folder: Path = Path()) -> None:
        with files.atomic_dir(folder / "out", {}, resumable=True) as partial:
            (partial / "pixels").mkdir()
            if begun:
                (partial / "pixels" / "0.npy").write_bytes(b"work")
            raise KeyboardInterrupt

    monkeypatch.setattr("plenish.commands.runs.list_runs", LIST(stopped))
    assert cli.run(["runs", "list", str(tmp_path)]) == 130
    assert sentence in capsys.readouterr().err
    assert (tmp_path / "out.partial").exists() == begun


@pytest.mark.parametrize(
    ("begun", "sentence"), [(False, "nothing has been trained yet"), (True, files.RESUME_HINT)]
)
def test_an_interrupted_run_says_whether_it_has_begun(begun: bool, sentence: str, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", "generator", {})
    if begun:
        (run.path / "checkpoints" / "kimg-00000.100").mkdir(parents=True)
        files.write_record(run.path / "checkpoints" / "kimg-00000.100" / "manifest.json", {})
    with pytest.raises(KeyboardInterrupt, match=sentence), run.lock():
        raise KeyboardInterrupt


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_begins_with_examples_that_can_be_typed(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*verb.split(), "--help"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "examples:"
    assert len(EXAMPLES[verb]) == 2
    for line, example in zip(shown[1:], EXAMPLES[verb], strict=False):
        assert line.strip() == example
        words = shlex.split(example)[1 + len(verb.split()) :]
        assert shlex.split(example)[1 : 1 + len(verb.split())] == verb.split()
        words = [*words[1:], f"--recipe={words[0]}"] if verb == "recipe run" else words
        values, _ = read_options(f"plenish {verb}", cli.load_command(verb), words)
        recipe = values.get("recipe")
        if isinstance(recipe, str) and recipe != AUTO and verb != "train queue":
            load_recipe(recipe)


STOPPED = """
import atexit, os, signal, sys, threading, time
from plenish import cli

def beside():
    while threading.main_thread().is_alive():  # Until it waits for this one.
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)

class AtTheVeryEnd:
    def __del__(self, kill=os.kill, process=os.getpid(), number=signal.SIGTERM):
        kill(process, number)

def work(*_):
    {work}
    return 0

cli._dispatch = work
cli.main(["runs", "list"])
"""


@pytest.mark.parametrize(
    ("work", "code"),
    [
        ("signal.raise_signal(signal.SIGTERM)", 130),
        ("exec('import signal; signal.raise_signal(signal.SIGTERM)')", 130),  # As while a dataclass is made.
        ("atexit.register(signal.raise_signal, signal.SIGTERM)", 0),
        ("atexit.register(signal.raise_signal, signal.SIGINT)", 0),
        ("sys.kept = AtTheVeryEnd()", 0),
        ("threading.Thread(target=beside).start()", 0),
    ],
)
@pytest.mark.parametrize("start", [["-m", "stopped"], ["stopped.py"]])
def test_a_command_that_a_signal_reaches_ends_by_an_exit_code(
    work: str, code: int, start: list[str], tmp_path: Path
) -> None:
    (tmp_path / "stopped.py").write_text(STOPPED.format(work=work))
    done = subprocess.run([sys.executable, *start], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert ("interrupted" in done.stderr) == (code == 130)
