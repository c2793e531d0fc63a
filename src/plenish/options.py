"""The command line of a `Command`: a parser of its parameters, and one sentence for what cannot be read."""

from __future__ import annotations

import argparse
import functools
import inspect
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from plenish import settings
from plenish.configuration import check_bounds
from plenish.errors import InputError, nearest, unknown
from plenish.examples import EXAMPLES
from plenish.invocation import REQUIRED, Command, Parameter, fields_of
from plenish.terminal import write
from plenish.yaml_reader import parse_yaml, read_yaml

_COMMON = {parameter.name: parameter for parameter in fields_of(settings.Settings)}
_DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
_CONFIG = Parameter("config", Path, None, inspect.Parameter.KEYWORD_ONLY, "YAML file with options.")
_YAML_NUMBERS = {".nan": "nan", ".inf": "inf", "-.inf": "-inf"}
_TAKEN_FIRST = {"recipe run": "recipe"}
"""What stands before all that a verb's command takes, and says which command that is (see `cli`)."""
_OFTEN = (
    "recipe", "hours", "kimg", "domain", "size", "name", "split", "labels", "group-column", "seeds", "arms",
    "synthetic", "classifier", "pretrained", "augmentation", "epochs", "dry-run", "n", "seed", "out",
)  # fmt: skip
"""Options that most users look for, shown first with those of the examples."""
_VALUES: dict[Any, str] = {int: "N", float: "X", Path: "PATH"}
_SECTION_OPTION = re.compile(r"--([a-z_]+)\.([\w.-]+)")


def read_options(
    prog: str, command: Command[Any], tokens: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parse a verb's command line.

    What was typed counts before what the file of --config says.

    Args:
        prog: what the user typed, for messages.
        command: the verb.
        tokens: the words after the verb.

    Returns:
        The command's arguments that were given, and the settings every verb knows.

    Raises:
        InputError: in one sentence, with the nearest option where one was mistyped.
        SystemExit: help was asked for, and printed.
    """
    known = {**command.parameters, **_COMMON, "config": _CONFIG}
    options = {command.option(name): parameter for name, parameter in known.items()}
    parser = _parser(prog, command, options)
    if {"-h", "--help"} & {*tokens}:
        for parameter in command.bare:
            several = {"nargs": "+"} if parameter.is_list else {}
            parser.add_argument(parameter.name, help=_about(parameter), **several)  # type: ignore[arg-type]
        examples = "".join(f"  {line}\n" for line in EXAMPLES.get(prog.partition(" ")[2], ()))
        write(f"examples:\n{examples}\n{parser.format_help().rstrip()}")
        raise SystemExit(0)
    for option in {token.partition("=")[0] for token in tokens} if "options" in known else ():
        if section := _SECTION_OPTION.fullmatch(option):
            assignment = f"{section[1]}.{section[2].replace('-', '_')}={{}}"
            parser.add_argument(option, dest="options", action=_AddedList, nargs=1, type=assignment.format)
    try:
        namespace, words = parser.parse_known_args(_lone_switches(tokens, options))
    except argparse.ArgumentError as error:
        raise InputError(f"{error.argument_name} needs a value; see '{prog} --help'.") from None
    given = vars(namespace) | _bare_words(prog, command, options, tokens, words, vars(namespace))
    if "config" in given:
        given = _from_file(Path(given.pop("config")), options) | given
    values = {}
    for name, said in given.items():
        try:
            values[name] = convert(known[name].hint, said)
        except ValueError as error:
            typed = name if known[name] in command.bare else command.option(name)
            wanted, *items = error.args
            said = items[0] if items else said
            raise InputError(f"{typed} must be {wanted}, not {said if str(said) else 'empty'}.") from None
    common = {name: values.pop(name, parameter.default) for name, parameter in _COMMON.items()}
    missing = [p for p in command.parameters.values() if p.default is REQUIRED and p.name not in values]
    if missing:
        names = ", ".join(p.name if p in command.bare else command.option(p.name) for p in missing)
        raise InputError(f"'{prog}' needs {names}; see '{prog} --help'.")
    # What no machine has is refused before torch is loaded, which takes seconds, to look at this one.
    if common["device"].partition(":")[0] not in _DEVICES:
        raise unknown("--device", common["device"], _DEVICES)
    check_bounds("--threads", common["threads"], _COMMON["threads"].bounds)
    return values, common


def _parser(prog: str, command: Command[Any], options: Mapping[str, Parameter]) -> argparse.ArgumentParser:
    """A parser of the options, with help in the words of the docstrings."""
    bare = " ".join(f"{p.name} …" if p.is_list else p.name for p in command.bare)
    first = _TAKEN_FIRST.get(prog.partition(" ")[2])
    parser = argparse.ArgumentParser(
        prog, usage=" ".join(filter(None, (prog, first, bare, "[options]"))),
        description=inspect.cleandoc(command.__doc__ or "").split("\nArgs:")[0].rstrip(),
        formatter_class=functools.partial(_Formatter, max_help_position=28, width=110),
        argument_default=argparse.SUPPRESS, allow_abbrev=False, exit_on_error=False,
    )  # fmt: skip
    parser._negative_number_matcher = re.compile(r"-[\d.]")  # Also -1e-3 and -5,3 are no options.
    often, rarely, everywhere = (
        parser.add_argument_group(title)
        for title in ("common options", "further options", "options of every verb")
    )
    typed = " ".join(EXAMPLES.get(prog.partition(" ")[2], ())).split()
    for option, parameter in options.items():
        group = everywhere if parameter.name in {*_COMMON, "config"} else rarely
        if group is rarely and (option in typed or option.lstrip("-") in _OFTEN):
            group = often
        how: dict[str, Any] = {"metavar": _value(option, parameter.hint)}
        if parameter.is_list:
            how |= {"nargs": "*", "action": _AddedList if parameter.adds else _List}
        elif parameter.takes_file:
            how |= {"nargs": "?"}
        elif parameter.is_switch:
            how = {"action": argparse.BooleanOptionalAction}
            if parameter.default is False:  # --no-NAME is known, and not worth a word of help.
                how = {"action": "store_true"}
                no = f"--no-{option[2:]}"
                group.add_argument(no, dest=parameter.name, action="store_false", help=argparse.SUPPRESS)
        about = argparse.SUPPRESS if parameter in command.bare else _about(parameter)
        group.add_argument(option, dest=parameter.name, help=about, **how)
    for option, other in command.instead.items():
        parser.add_argument(option, help=(other.__doc__ or "").partition("\n")[0], action="store_true")
    return parser


class _List(argparse.Action):
    """Several words, or one that is a YAML list."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        is_yaml = len(values) == 1 and values[0].startswith("[")
        found = parse_yaml(values[0], f"'{values[0][:40]}'") if is_yaml else values
        setattr(namespace, self.dest, found)


class _AddedList(_List):
    """The same, added to the words of such options before."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        before = getattr(namespace, self.dest, [])
        super().__call__(parser, namespace, values, option_string)
        setattr(namespace, self.dest, before + getattr(namespace, self.dest))


def _lone_switches(tokens: Sequence[str], options: Mapping[str, Parameter]) -> list[str]:
    """The words with --fast and --no-fast for `--fast true` and `--fast=false`, unknown to argparse.

    Of an option that takes true, false or a file, the next word is its value only where it is one of these.
    """
    switches, words = {option for option, p in options.items() if p.is_switch}, list[str]()
    file_options = {option for option, p in options.items() if p.takes_file}
    for token, following in zip(tokens, [*tokens, ""][1:], strict=True):
        if token in file_options and not _is_value(following):
            words.append(f"{token}=true")
            continue
        if (option := re.sub("^--no-", "--", token)) != token and option in file_options:
            words.append(f"{option}=false")
            continue
        option, attached, said = token.partition("=")
        if words and words[-1] in switches and token.lower() in ("true", "false"):
            option, attached, said = words.pop(), "=", token
        if option in switches and attached:
            if said.lower() not in ("true", "false"):
                raise InputError(f"{option} must be true or false, not {said or 'empty'}.")
            words.append(option if said.lower() == "true" else f"--no-{option[2:]}")
        else:
            words.append(option if re.sub("^--no-", "--", option) in switches else token)
    return words


def _is_value(word: str) -> bool:
    return word.lower() in ("true", "false") or Path(word).is_file()


def _bare_words(
    prog: str, command: Command[Any], options: Mapping[str, Parameter], tokens: Sequence[str],
    words: Sequence[str], given: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Words without an option, by the parameter that they are for."""
    for word in words:
        if re.match(r"-[^\d.]", word):
            raise unknown("option", word.partition("=")[0], sorted(o for o in options if o.startswith("--")))
    free = [parameter for parameter in command.bare if parameter.name not in given]
    if free and free[0].is_list:
        return {free[0].name: words} if words else {}
    if free and free[-1].is_list and len(words) >= len(free):  # The last one takes what is left.
        found: dict[str, Any] = {parameter.name: word for parameter, word in zip(free[:-1], words)}
        return found | {free[-1].name: words[len(free) - 1 :]}
    last_before = dict(zip(tokens[1:], tokens))
    for word in words if len(words) > len(free) else ():
        before = last_before.get(word, "")
        if before in options and options[before].takes_file:
            raise InputError(f"{before} must be true, false or a file, and {word} is none of these.")
    for word in words[len(free) :]:
        before = last_before.get(word, "")
        if before in options and options[before].is_switch:
            raise InputError(f"{before} must be true or false, not {word}.")
        close = nearest(word, options)
        hint = f"; did you mean '{close}'?" if close else f"; see '{prog} --help'."
        raise InputError(f"'{prog}' does not know what to do with '{word}'{hint}")
    return {parameter.name: word for parameter, word in zip(free, words)}


def _from_file(path: Path, options: Mapping[str, Parameter]) -> dict[str, Any]:
    """The options in a YAML file, by parameter."""
    content = read_yaml(path, "--config:")
    if not isinstance(content, dict):
        raise InputError(f"--config: {path} holds no options; write them as 'name: value', one a line.")
    found = {}
    for key, value in content.items():
        option = "--" + str(key).replace("_", "-")
        if option not in options:
            raise unknown(f"option in {path}", str(key), [o.lstrip("-") for o in options])
        found[options[option].name] = value
    return found


def convert(hint: Any, value: Any) -> Any:
    """A word, or a value from YAML, as a type.

    Raises:
        ValueError: it cannot be; the message says what it must be.
    """
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        if value is None and types.NoneType in inner:
            return None
        wanted: list[str] = []
        items: list[Any] = []
        for choice in inner:
            try:
                if choice is not types.NoneType:
                    return convert(choice, value)
            except ValueError as error:
                wanted.append(str(error.args[0]))
                items = list(error.args[1:])
        raise ValueError(" or ".join(wanted), *(items if len(wanted) == 1 else []))
    text = str(value)
    if kind is Literal:
        for choice in inner:
            if str(choice) == text:
                return choice
        raise ValueError(f"one of {', '.join(map(str, inner))}" if len(inner) > 1 else str(inner[0]))
    if kind in (list, tuple):
        items = list(value) if isinstance(value, (list, tuple)) else [value]
        if kind is tuple and inner[-1] is not Ellipsis and len(items) != len(inner):
            raise ValueError(f"{len(inner)} values")
        return kind(_item(inner[0], item) for item in items)
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("true or false")
        return text.lower() == "true"
    if hint is Path and not text:  # A variable of the shell that is not set; "." would be meant else.
        raise ValueError("a path")
    try:
        return hint(_YAML_NUMBERS.get(text, text) if hint is float else text)
    except ValueError:
        raise ValueError("a whole number" if hint is int else "a number") from None


def _item(hint: Any, value: Any) -> Any:
    """One item of a list as a type; the ValueError of one that is not tells which."""
    try:
        return convert(hint, value)
    except ValueError as error:
        raise ValueError(*error.args[:1], value) from None


def _value(option: str, hint: Any) -> str:
    """What an option takes, for its help: choices as a|b, else its type or its own last word."""
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not types.NoneType]
    items = [get_args(kind)[0] for kind in kinds if get_origin(kind) in (list, tuple)]
    kinds = [kind for kind in kinds if kind not in items]  # Several, or one of these: several are said.
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    if len(kinds) > 1 and get_origin(hint) in (Union, types.UnionType):
        return "|".join("true|false" if kind is bool else _value(option, kind) for kind in kinds)
    if kinds != [hint] and get_origin(hint) in (Union, types.UnionType):
        return _value(option, kinds[0])
    if get_origin(hint) in (list, tuple):
        several = len(kinds) if get_origin(hint) is tuple and Ellipsis not in kinds else 0
        item = _value(option, kinds[0])
        return " ".join([item] * several) if several else f"{item} …"
    return _VALUES.get(hint, option.lstrip("-").rpartition("-")[2].upper())


class _Formatter(argparse.HelpFormatter):
    """Shows what an option takes as it is typed, without argparse's brackets."""

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        shown = action.metavar if isinstance(action.metavar, str) else default_metavar
        return f"[{shown}]" if action.nargs == "?" else shown


def _about(parameter: Parameter) -> str:
    text, default = parameter.about.replace("%", "%%"), parameter.default
    if default is REQUIRED or default is None or default is False or default in ("", (), []):
        return text
    shown = " ".join(map(str, default)) if isinstance(default, (tuple, list)) else default
    return f"{text.rstrip('.')} (default: {'yes' if default is True else shown})."


__all__ = ["convert", "read_options"]
