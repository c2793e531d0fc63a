"""A verb's options, from its function's signature and docstring."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from plenish import settings
from plenish.errors import InputError, PlenishError, nearest, unknown

COMMON = {
    "device": "where to compute: auto, cpu, cuda, cuda:1, …",
    "threads": "CPU threads; torch's own choice by default",
    "precision": "auto, float32 or bfloat16",
    "quiet": "no progress, no remarks",
    "json": "print the result as JSON",
}
DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")


class _Formatter(DefaultHelpFormatter):  # type: ignore[misc]
    """Help in the words of the docstring, and what holds if nothing is said; Python's types help nobody."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        unsaid = action.default is None or action.default is False or action.default == argparse.SUPPRESS
        if unsaid or not action.option_strings:
            return text
        return f"{text.rstrip('.')} (default: {'yes' if action.default is True else '%(default)s'})."


class _Parser(ArgumentParser):  # type: ignore[misc]
    """Options are written with hyphens; a one-letter parameter also gets its one-letter option."""

    renamed: Mapping[str, str] = {}

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        if args and all(isinstance(arg, str) and arg.startswith("--") for arg in args):
            renamed = getattr(self, "renamed", {})  # jsonargparse also puts this method on argument groups
            names = [renamed.get(arg[2:], arg[2:]).replace("_", "-") for arg in args]
            if names[0].replace("-", "_") != args[0][2:]:
                kwargs["dest"] = args[0][2:]
            args = (*(f"--{name}" for name in names), *(f"-{name}" for name in names if len(name) == 1))
        return super().add_argument(*args, **kwargs)


def read_options(
    prog: str,
    function: Callable[..., Any],
    tokens: list[str],
    renamed: Mapping[str, str] = {},
    positional: Sequence[str] = (),
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parse a verb's command line.

    Args:
        prog: what the user typed, for messages.
        function: the verb's function.
        tokens: the words after the verb.
        renamed: parameter → option, where the option's word is reserved in Python.
        positional: optional parameters that may also be given without their option.

    Returns:
        The function's arguments, and the settings every verb knows.

    Raises:
        InputError: in one sentence, with the nearest option where one was mistyped.
    """
    function = inspect.unwrap(function)
    parser = _parser(prog, function, renamed)
    values = _parse(parser, _prepare(tokens, parser, function, renamed, positional))
    values.pop("config", None)
    if isinstance(values.get("seed"), int) and not 0 <= values["seed"] < 2**63:
        raise InputError(f"--seed must be a number from 0 to 2^63 − 1, and is {values['seed']}.")
    common = {key: values.pop(key) for key in COMMON}
    _check_common(common)
    return values, common


def _check_common(common: Mapping[str, Any]) -> None:
    """Refuse what no machine has before torch is loaded, which takes seconds, to look at this one."""
    kind = str(common["device"]).partition(":")[0]
    if kind not in DEVICES:
        raise unknown("--device", common["device"], DEVICES)
    if common["threads"] is not None and common["threads"] < 1:
        raise InputError(f"--threads must be at least 1, not {common['threads']}.")


def _parser(prog: str, function: Callable[..., Any], renamed: Mapping[str, str]) -> _Parser:
    parser = _Parser(
        prog=prog, description=inspect.cleandoc(function.__doc__ or "").split("\nArgs:")[0],
        exit_on_error=False, allow_abbrev=False, formatter_class=_Formatter,
    )  # fmt: skip
    parser.renamed = renamed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser.add_function_arguments(
            _resolved(function), as_group=False, as_positional=True, fail_untyped=False
        )
        for action in parser._actions:
            if not action.option_strings and get_origin(_base(_hints(function).get(action.dest))) is list:
                action.metavar = f"{action.dest} …"
        common = parser.add_argument_group("options of every verb")
        hints = get_type_hints(settings.Settings)
        defaults = settings.Settings()
        for key, text in COMMON.items():
            common.add_argument(f"--{key}", type=hints[key], default=getattr(defaults, key), help=text)
        parser.add_argument("--config", action="config", help="YAML file with options")
    return parser


def _prepare(
    tokens: list[str],
    parser: Any,
    function: Callable[..., Any],
    renamed: Mapping[str, str],
    positional: Sequence[str],
) -> list[str]:
    """Spell lists and switches the parser's way, and refuse unknown options by their nearest name."""
    hints = _hints(function) | get_type_hints(settings.Settings)
    kinds = {f"--{renamed.get(key, key).replace('_', '-')}": hint for key, hint in hints.items()}
    kinds |= {f"-{key[2]}": hint for key, hint in list(kinds.items()) if len(key) == 3}
    known = {option for action in parser._actions for option in action.option_strings}
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and get_origin(hints.get(parameters[0].name)) is list:
        tokens = _gathered(tokens, kinds)
    required = sum(p.default is p.empty and p.kind is not p.KEYWORD_ONLY for p in parameters)
    prepared: list[str] = []
    i = bare = 0
    while i < len(tokens):
        token, i = tokens[i], i + 1
        option, _, attached = token.partition("=")
        if not _is_option(option):
            bare += 1
            over = bare - required - 1
            prepared.append(f"--{positional[over]}={token}" if 0 <= over < len(positional) else token)
            continue
        if option.startswith("--no-") and _base(kinds.get("--" + option[5:])) is bool:
            prepared.append(f"--{option[5:]}=false")
            continue
        if option not in known and option not in kinds:
            raise unknown("option", option, sorted(o for o in known if o.startswith("--") and "+" not in o))
        hint = _base(kinds.get(option))
        if attached:
            prepared.append(token)
        elif hint is bool:
            follows = i < len(tokens) and tokens[i].lower() in ("true", "false")
            all_said = bare >= required + len(positional)
            if all_said and not follows and i < len(tokens) and not _is_option(tokens[i]):
                raise InputError(f"{option} must be true or false, not {tokens[i]}.")
            prepared.append(f"{option}={tokens[i].lower() if follows else 'true'}")
            i += follows
        elif get_origin(hint) in (list, tuple):
            values = []
            while i < len(tokens) and not _is_option(tokens[i]):
                values.append(tokens[i])
                i += 1
            if len(values) == 1 and values[0].startswith("["):
                prepared.append(f"{option}={values[0]}")
            else:
                prepared.append(f"{option}={json.dumps([_number(v, hint) for v in values])}")
        else:
            prepared.append(option)
            if i < len(tokens) and not _is_option(tokens[i]):
                prepared.append(tokens[i])
                i += 1
    return prepared


def _gathered(tokens: list[str], kinds: Mapping[str, Any]) -> list[str]:
    """Bare words as the one list that the first parameter takes: `slides inspect A B C`."""
    bare: list[str] = []
    rest: list[str] = []
    taking = False  # Whether the words that follow belong to an option.
    for token in tokens:
        if _is_option(token):
            hint = _base(kinds.get(token.partition("=")[0]))
            taking = "=" not in token and hint is not bool
            several = get_origin(hint) in (list, tuple)
            rest.append(token)
        elif taking:
            rest.append(token)
            taking = several
        else:
            bare.append(token)
    return [json.dumps(bare), *rest] if bare else rest


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Types of the parameters; the return type may name a class that only type checkers import."""
    parameters = {key: value for key, value in function.__annotations__.items() if key != "return"}
    return get_type_hints(type("_Parameters", (), {"__annotations__": parameters}), function.__globals__)


def _resolved(function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy whose parameters have types instead of their names, and no return type.

    jsonargparse looks up names it cannot find by importing what `if TYPE_CHECKING` guards: torch, for help.
    """
    copy = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__annotations__, copy.__kwdefaults__ = _hints(function), function.__kwdefaults__
    copy.__doc__, copy.__module__, copy.__qualname__ = (
        function.__doc__,
        function.__module__,
        function.__qualname__,
    )
    return copy


def _is_option(token: str) -> bool:
    return token.startswith("-") and len(token) > 1 and not token[1].isdigit() and token[1] != "."


def _base(hint: Any) -> Any:
    """The type behind an `| None`."""
    choices = [arg for arg in get_args(hint) if arg is not type(None)]
    return choices[0] if type(None) in get_args(hint) and len(choices) == 1 else hint


def _number(text: str, hint: Any) -> Any:
    kind = get_args(hint)[0] if get_args(hint) else str
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return text
    return text


def _parse(parser: Any, tokens: list[str]) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = parser.parse_args(tokens)
            return {
                key: value
                for key, value in vars(parser.instantiate_classes(parsed)).items()
                if key != "config"
            }
    except Exception as error:
        if isinstance(error, PlenishError):
            raise
        raise InputError(_sentence(str(error), parser)) from None


def _sentence(message: str, parser: Any) -> str:
    for kind, words in (
        ("<class 'int'>", "whole number"),
        ("<class 'float'>", "number"),
        ("<class 'bool'>", "true or false"),
    ):
        message = message.replace(kind, words)
    message = re.sub(
        r"Does not validate against any of the Union.*?Expected a ([^\n]+).*Given value: ?([^\n]*).*",
        r"Expected a \1. Got value: \2", message, flags=re.DOTALL,
    )  # fmt: skip
    message = re.sub(
        r"(?:typing\.)?Literal\[([^\]]*)\]", lambda found: "one of " + found[1].replace("'", ""), message
    )
    message = message.replace("Expected a one of", "must be one of").replace("Expected a ", "must be a ")
    message = message.replace('key "format"', 'key "as"')
    text = " ".join(message.replace("Parser key", "option").split()).replace("typing.", "").rstrip(".")
    if "required" in text and "arguments" in text:
        missing = text.split(":")[-1].strip()
        return f"'{parser.prog}' needs {missing}; see '{parser.prog} --help'."
    if "Unrecognized arguments" in text or "unrecognized arguments" in text:
        word = text.split(":")[-1].split()[0]
        options = [o for action in parser._actions for o in action.option_strings]
        close = nearest(word, options)
        hint = f"; did you mean '{close}'?" if close else f"; see '{parser.prog} --help'."
        return f"'{parser.prog}' does not know what to do with '{word}'{hint}"
    if wrong := re.fullmatch(r'option "([^"]+)": (.+?)\. Got value: ?(.*)', text):
        typed = [o for action in parser._actions for o in action.option_strings if o.startswith("-")]
        option = ("--" if len(wrong[1]) > 1 else "-") + wrong[1].replace("_", "-")
        return f"{option if option in typed else wrong[1]} {wrong[2]}, not {wrong[3] or 'empty'}."
    return f"{text}; see '{parser.prog} --help'."
