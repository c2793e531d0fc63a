"""The command line: a table of verbs, and the parser that a verb's signature and docstring become.

Nothing heavy is imported before a verb is chosen, so that help answers at once.
"""

from __future__ import annotations

import atexit
import dataclasses
import importlib
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish import settings
from plenish._version import __version__
from plenish.configuration import option_name
from plenish.errors import AlreadyMade, InputError, PlenishError, first_line, unknown
from plenish.files import disk_sentence, refuse_unwritable
from plenish.terminal import hang_up, json_text, note, write

if TYPE_CHECKING:
    from plenish.invocation import Command


VERBS: dict[str, tuple[str, str]] = {
    "demo": ("demo:demo", "the whole chain on a phantom or on your own images"),
    "doctor": ("doctor:doctor", "versions, devices, what is missing, how fast this machine is"),
    "import": ("datasets:import_dataset", "make a Dataset from a folder, table, archive"),
    "fit": ("datasets:refit_dataset", "the images of a Dataset at another size, in grey, without bands"),
    "export": ("datasets:export_dataset", "write a Dataset in another format"),
    "split": ("datasets:split_dataset", "freeze a train/val/test split"),
    "profile": ("profile:profile_dataset", "contents and problems of a Dataset"),
    "curate": ("curate:curate", "filter and clean a Dataset by steps, with a funnel"),
    "phantom": ("datasets:make_phantom", "make a Dataset of procedural tissue with known truth"),
    "slides phantom": (
        "slides:make_slides",
        "make whole-slide images with annotated tumours and known truth",
    ),
    "train generator": ("train_generator:train_generator", "train a generator by a recipe, or resume"),
    "train gan": ("train_generator:train_gan", "the same, by another name"),
    "train autoencoder": ("train_autoencoder:train_autoencoder", "train an autoencoder, or resume"),
    "train queue": (
        "train_queue:train_queue",
        "train variants of an autoencoder from one YAML file: FILE DATA OUT",
    ),
    "train classifier": ("train_classifier:train_classifier_run", "train a classifier and keep it in a Run"),
    "harden": ("harden:harden", "train a classifier that withstands attacks, and keep it in a Run"),
    "train translate": ("train_translate:train_translate", "train sketches into pictures, or resume"),
    "train advgan": ("train_advgan:train_advgan", "train perturbations that fool a classifier, or resume"),
    "translate": ("translate:translate", "pictures of sketches by a trained Run: RUN IMAGES … OUT"),
    "predict": ("predict:predict", "classify images by trained classifiers: RUN … IMAGES …"),
    "encode": ("encode:encode", "add an autoencoder's encodings to a Dataset, as an array"),
    "latents": ("latent:draw_encodings", "draw encodings by a column, correlate them with all"),
    "nearest": ("latent:find_nearest", "images whose encodings are nearest to others'"),
    "recipe list": ("recipes:list_recipes", "the recipes by name"),
    "recipe run": ("train_generator:train_gan", "what the recipe named first is for: NAME DATA RUN"),
    "recipe steps": ("recipe_steps:run_steps", "the steps of a recipe, and a table of its classifiers"),
    "recipe show": ("recipes:show_recipe", "one recipe with its provenance"),
    "slides inspect": ("slides:inspect_slides", "properties of whole-slide images, by file"),
    "slides tile": ("slides:tile_slides", "cut whole-slide images into a tile Dataset"),
    "slides overlay": (
        "slides:draw_overlay",
        "a small picture of a slide with its tissue, annotations and tiles",
    ),
    "slides heatmap": ("slides_heatmap:draw_heatmap", "a trained Run's scores of every tile of a slide"),
    "slides normalise": ("slides:normalise_stain", "give all tiles of a Dataset the stain of its train part"),
    "slides select": ("slides:select_slides", "rank slides by how much of them is annotated"),
    "generate": ("generate:generate", "make a synthetic Dataset from a trained generator"),
    "edit invert": ("invert:invert", "latents and labels of real images, so that they can be edited"),
    "edit flip": ("edit:flip", "the same latents with another class: figure and film"),
    "edit counterfactual": (
        "counterfactual:counterfactual",
        "the smallest change of images that turns a classifier",
    ),
    "edit anonymise": ("anonymise:anonymise", "images moved away from the patients they show"),
    "edit concept": ("concept:edit", "generated images with concepts at several strengths: strips and film"),
    "edit directions": ("directions:directions", "directions without examples (SeFa, PCA): contact sheet"),
    "concept learn": ("concept:learn", "a direction of the latent space from examples or a column"),
    "concept list": ("concept:list_concepts", "the concepts of a generator"),
    "concept rm": ("concept:remove", "remove a concept"),
    "concept export": ("concept:export", "write a concept as one file"),
    "concept import": ("concept:import_concept", "keep a concept from a file"),
    "concept effect": ("concept:effect", "how much a concept changes its target, and everything else"),
    "edit interpolate": ("edit:interpolate", "film the way between generated images"),
    "edit grid": ("edit:grid", "the square between four images, and the six ways between them"),
    "edit walk": ("edit:walk", "film a random walk, or what a direction does to images"),
    "edit arithmetic": ("edit:arithmetic", "add and subtract latents and concepts: 'a - b + c'"),
    "edit mix": ("edit:mix", "coarse layers of one image, fine ones of another"),
    "score-edits": ("score_edits:score_edits", "did edits do what was asked, and what else: EDIT … OUT"),
    "attack-latent": ("attack_latent:attack_latent", "images of a generator that a classifier gets wrong"),
    "export-model": ("export_model:export_model", "write a generator or classifier for other programs"),
    "score": ("score:score", "distance of synthetic images to real ones, and copies among them"),
    "study": ("study:run_study", "does synthetic data help a classifier: arms, seeds, verdict"),
    "study autoencoders": (
        "study_autoencoders:study_autoencoders",
        "one autoencoder a class, compared by their errors",
    ),
    "attack": ("attack:attack", "what a classifier still answers right under attack: RUN DATA"),
    "filter": (
        "filter:filter_dataset",
        "drop copies and bad images from a synthetic Dataset",
    ),
    "release": ("release:release", "synthetic images as a folder to give away, unless they copy real ones"),
    "report": ("report:write_report", "one HTML report of everything known"),
    "compare": ("compare:compare_runs", "generators side by side: pictures and a page: RUN … OUT"),
    "comic": ("comic:make_comic", "comic pages from a script: panels, generated pictures, balloons"),
    "studio": ("studio:studio", "explore generators and Datasets in a web browser"),
    "runs list": ("runs:list_runs", "the Runs in a folder"),
    "runs tree": ("runs:tree_of_runs", "which Run was made from which, and what was changed"),
    "runs show": ("runs:show_run", "one Run"),
    "runs rm": ("runs:remove_run", "remove a Run"),
    "runs prune": ("runs:prune_runs", "remove old checkpoints"),
    "bench": ("bench:bench", "speed of a training step against a plain training loop"),
    "bench flow": ("bench:bench_flow", "speed of a flow's training step"),
    "bench autoencoder": ("bench:bench_autoencoder", "speed of an autoencoder's training step"),
    "bench gan": ("bench:bench", "the same, by its full name"),
}
"""Each verb's command, as a module of plenish.commands and a name in it, and its purpose."""
_COMMON = {option_name(f.name): isinstance(f.default, bool) for f in dataclasses.fields(settings.Settings)}
"""Options of every verb, and whether each stands without a value; --config FILE is one more."""
_PARALLEL = (
    "train generator", "train gan", "train autoencoder", "train classifier", "train translate", "harden",
)  # fmt: skip
"""Verbs that several processes may do together."""
_INTERRUPTED = 130
"""The exit code after Ctrl-C or SIGTERM, as shells give it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; exits with 0, 1 (internal error), 2 (invalid input), 3 (a check failed) or 130."""
    atexit.register(_on_signals, signal.SIG_IGN)  # Registered first, so called last: nothing is left to stop.
    try:
        code = run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:  # A second one, while the first was being reported.
        code = _INTERRUPTED
    # How it ended is known. A signal ends the process at once, which may wait for threads else.
    _on_signals(lambda *_: os._exit(code))
    # Python remembers an interrupt raised in code that came as text (dataclasses make some), and 'python -m'
    # would end by SIGINT although it was caught; running any such code forgets it.
    exec("")
    sys.exit(code)


def _on_signals(handler: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    leading, rest = _apart(arguments)
    try:
        if not arguments or rest[:1] in (["-h"], ["--help"], ["help"]):
            write(_overview())
            return 0
        if rest[:1] in (["-V"], ["--version"], ["version"]):
            write(f"plenish {__version__}")
            return 0
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ask to stop as Ctrl-C does.
        return _dispatch(leading, rest)
    except AlreadyMade as made:
        note(f"plenish: {made}")
        if "--json" in arguments:
            write(json_text({"out": str(made.out), "made": "before"}))
        return made.exit_code
    except PlenishError as error:
        note(f"plenish: {error}")
        return error.exit_code
    except KeyboardInterrupt as stop:
        # What the command can resume from is said in the interrupt (see files.resumable_from).
        note(f"plenish: interrupted; {str(stop) or 'nothing was written'}.")
        return _INTERRUPTED
    except BrokenPipeError:
        hang_up()
        return 0
    except SystemExit as done:
        return int(done.code or 0)
    except Exception as error:
        return _internal_error(error)


def _internal_error(error: Exception) -> int:
    is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    sentence = None
    if isinstance(error, OSError):
        sentence = disk_sentence(error, Path(str(error.filename or "the output")))
    if not sentence and (is_memory or "allocate memory" in str(error)):
        sentence = "out of memory; use a smaller --batch or image size."
    if sentence:
        note(f"plenish: {sentence}")
        return 2
    details = traceback.format_exc()
    try:
        with tempfile.NamedTemporaryFile("wb", prefix="plenish-", suffix=".log", delete=False) as file:
            file.write(details.encode("utf-8", "backslashreplace"))
        where = f"details in {file.name}; please report it with them"
    except OSError:
        where = f"please report it with these details: {' | '.join(details.splitlines()[-6:])}"
    note(f"plenish: internal error: {type(error).__name__}: {first_line(error)} ({where}).")
    return 1


def _overview() -> str:
    width = max(map(len, VERBS)) + 2
    lines = [f"  {name:<{width}}{purpose}" for name, (_, purpose) in VERBS.items()]
    return "\n".join(
        [
            "usage: plenish VERB …          plenish VERB --help",
            "",
            "Extend a scarce image dataset with synthetic images, and measure whether they help.",
            "For research and teaching, not for diagnosis.",
            "",
            *lines,
            "",
            f"Every verb knows {', '.join(_COMMON)} and --config FILE.yaml.",
        ]
    )


def _dispatch(leading: list[str], arguments: list[str]) -> int:
    if not arguments:
        raise InputError(f"'plenish {' '.join(leading)}' lacks a verb; 'plenish --help' lists them.")
    if arguments[0].startswith("-"):
        option = arguments[0].partition("=")[0]
        raise InputError(f"'{option}' belongs behind a verb: plenish VERB … {option}.")
    from plenish.invocation import typed
    from plenish.options import read_options

    name, rest = _find_verb(arguments)
    target = name
    if name == "recipe run" and rest[:1] and not rest[0].startswith("-"):
        target, rest = _by_recipe(rest)
    command = load_command(target)
    for option, other in command.instead.items():
        if option in rest:
            command, rest = other, [word for word in rest if word != option]
    # Right behind the verb's words: of an option given twice the later one counts, the one behind the verb.
    values, common = read_options(f"plenish {name}", command, [*leading, *rest])
    if settings.process()[1] > 1 and target not in _PARALLEL:
        raise InputError(
            f"'plenish {name}' is work for one process, and WORLD_SIZE is {settings.process()[1]}; several "
            f"processes together do {', '.join(_PARALLEL)} and recipe run."
        )
    if isinstance(out := values.get("out"), Path) and not values.get("dry_run"):
        refuse_unwritable(out)  # Before any work.
    with settings.use(**common), typed(["plenish", *leading, *arguments]):
        result = command(**values)
        if result is not None and settings.is_first_process():
            _print(result)
    return 0


def load_command(name: str) -> Command[Any]:
    """The command of a verb."""
    module, function = VERBS[name][0].split(":")
    command: Command[Any] = getattr(importlib.import_module(f"plenish.commands.{module}"), function)
    return command


def _by_recipe(words: list[str]) -> tuple[str, list[str]]:
    """The verb that the recipe named first is for, and the words after that verb."""
    from plenish.recipes import AUTO, VERBS, load_recipe

    recipe = None if words[0] == AUTO else load_recipe(words[0])
    verb = VERBS[recipe.kind if recipe else "generator"]
    if recipe is not None and recipe.kind in ("slide-tiles", "classifier"):
        # These verbs take no recipe by name; what is typed comes later and counts.
        options = [
            f"--{key.replace('_', '-')}={json.dumps(value) if isinstance(value, (list, bool)) else value}"
            for key, value in next(iter(recipe.sections.values())).items()
        ]
        return verb, [*options, *words[1:]]
    return verb, [*words[1:], f"--recipe={words[0]}"]


def _apart(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The options of every verb that stand before it, and the rest."""
    i = 0
    while i < len(arguments):
        option, _, attached = arguments[i].partition("=")
        if option not in _COMMON and option != "--config":
            break
        i += 1 if attached or _COMMON.get(option) else 2
    return arguments[:i], arguments[i:]


def _find_verb(arguments: list[str]) -> tuple[str, list[str]]:
    words = [word for word in arguments[:2] if not word.startswith("-")]
    for count in (2, 1):
        name = " ".join(words[:count])
        if len(words) >= count and name in VERBS:
            return name, arguments[count:]
    family = [name for name in VERBS if name.startswith(words[0] + " ")] if words else []
    if family and arguments[1:2] in (["-h"], ["--help"]):
        write("\n".join(f"  plenish {name:<14} {VERBS[name][1]}" for name in family))
        raise SystemExit(0)
    second = [name.split()[1] for name in family]
    if family and len(words) < 2:
        raise InputError(f"'plenish {words[0]}' needs one more word: {', '.join(second)}.")
    if family:
        raise unknown(f"verb after '{words[0]}'", words[1], second)
    raise unknown("verb", words[0] if words else arguments[0], VERBS)


def _print(result: Any) -> None:
    summary = result.summary() if hasattr(result, "summary") else result
    if settings.current().json:
        write(json_text(summary))
        return
    from plenish.terminal_tables import as_text

    write(as_text(result.shown() if hasattr(result, "shown") else summary))


__all__ = ["VERBS", "load_command", "main", "run"]
