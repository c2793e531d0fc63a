"""The command line of a `Command`: its options, their help, and one sentence for what cannot be read."""

from __future__ import annotations

import argparse
import functools
import inspect
import re
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from plenish import settings
from plenish.configuration import check_bounds
from plenish.errors import InputError, nearest, unknown
from plenish.invocation import REQUIRED, Command, Parameter, fields_of

_COMMON = {parameter.name: parameter for parameter in fields_of(settings.Settings)}
_DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
_CONFIG = Parameter("config", Path, None, inspect.Parameter.KEYWORD_ONLY, "YAML file with options.")
_YAML_NUMBERS = {".nan": "nan", ".inf": "inf", "-.inf": "-inf"}
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
    reader = _Reader(prog, command)
    reader.read(list(tokens))
    if "config" in reader.given:
        reader.given = reader.from_file(Path(str(reader.given.pop("config")))) | reader.given
    values = {name: reader.converted(name, raw) for name, raw in reader.given.items()}
    common = {name: values.pop(name, parameter.default) for name, parameter in _COMMON.items()}
    missing = [p for p in command.parameters.values() if p.default is REQUIRED and p.name not in values]
    if missing:
        names = ", ".join(p.name if p in reader.bare else command.option(p.name) for p in missing)
        raise InputError(f"'{prog}' needs {names}; see '{prog} --help'.")
    _check_common(common)
    return values, common


def _check_common(common: dict[str, Any]) -> None:
    """Refuse what no machine has before torch is loaded, which takes seconds, to look at this one."""
    kind = str(common["device"]).partition(":")[0]
    if kind not in _DEVICES:
        raise unknown("--device", common["device"], _DEVICES)
    check_bounds("--threads", common["threads"], _COMMON["threads"].bounds)


class _Reader:
    """Words of a command line, sorted by the parameter they are for.

    Attributes:
        given: what was said, by parameter: text, or several for lists.
        bare: parameters that take words without an option, in order.
    """

    def __init__(self, prog: str, command: Command[Any]) -> None:
        self.prog, self.command = prog, command
        self.known = {**command.parameters, **_COMMON, "config": _CONFIG}
        self.options = {command.option(name): name for name in self.known}
        self.options |= {f"-{name}": name for name in self.known if len(name) == 1}
        self.bare = [
            p for p in command.parameters.values()
            if p.default is REQUIRED and p.kind is not inspect.Parameter.KEYWORD_ONLY
        ]  # fmt: skip
        self.several = bool(self.bare) and _is_list(self.bare[0])
        self.bare += [command.parameters[name] for name in command.positional]
        self.given: dict[str, Any] = {}

    def read(self, tokens: list[str]) -> None:
        """Sort the words."""
        words: list[tuple[str, str]] = []
        switch = ""
        if self.command.first and tokens and not _is_option(tokens[0]):
            self.given[self.command.first] = tokens.pop(0)
        while tokens:
            token = tokens.pop(0)
            if not _is_option(token):
                words.append((token, switch))
                switch = ""
                continue
            if token in ("-h", "--help"):
                print(_help(self.prog, self.command, self.bare))
                raise SystemExit(0)
            switch = self._option(token, tokens)
        if self.several and words:
            self.given[self.bare[0].name] = [word for word, _ in words]
            return
        for parameter, (word, _) in zip(self.bare, words):
            self.given[parameter.name] = word
        for word, switch in words[len(self.bare) :]:
            if switch:
                raise InputError(f"{switch} must be true or false, not {word}.")
            close = nearest(word, self.options)
            hint = f"; did you mean '{close}'?" if close else f"; see '{self.prog} --help'."
            raise InputError(f"'{self.prog}' does not know what to do with '{word}'{hint}")

    def _option(self, token: str, tokens: list[str]) -> str:
        """Take an option with the words that belong to it; returns it if it was a switch without a value."""
        option, attached, text = token.partition("=")
        section = _SECTION_OPTION.fullmatch(option)
        if section and "options" in self.known:
            key = f"{section[1]}.{section[2].replace('-', '_')}"
            value = text if attached else self._next(option, tokens)
            self.given.setdefault("options", []).append(f"{key}={value}")
            return ""
        negated = self.options.get("--" + option[5:]) if option.startswith("--no-") else None
        if negated and option not in self.options and self.known[negated].is_switch:
            self.given[negated] = "false"
            return ""
        if option not in self.options:
            raise unknown("option", option, sorted(o for o in self.options if o.startswith("--")))
        name = self.options[option]
        if self.known[name].is_switch and not attached:
            said = bool(tokens) and tokens[0].lower() in ("true", "false")
            self.given[name] = tokens.pop(0) if said else "true"
            return "" if said else option
        if not _is_list(self.known[name]):
            self.given[name] = text if attached else self._next(option, tokens)
            return ""
        found = [text] if attached else []
        while not attached and tokens and not _is_option(tokens[0]):
            found.append(tokens.pop(0))
        more = self.given.get(name, []) if name == "options" else []
        self.given[name] = more + (_yaml(found[0]) if len(found) == 1 and found[0].startswith("[") else found)
        return ""

    def _next(self, option: str, tokens: list[str]) -> str:
        if not tokens or _is_option(tokens[0]):
            raise InputError(f"{option} needs a value; see '{self.prog} --help'.")
        return tokens.pop(0)

    def from_file(self, path: Path) -> dict[str, Any]:
        """The options in a YAML file, by parameter."""
        try:
            content = _yaml(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--config: {path} cannot be read ({error}).") from None
        if not isinstance(content, dict):
            raise InputError(f"--config: {path} holds no options; write them as 'name: value', one a line.")
        found = {}
        for key, value in content.items():
            option = "--" + str(key).replace("_", "-")
            if option not in self.options:
                raise unknown(f"option in {path}", str(key), [o.lstrip("-") for o in self.options])
            found[self.options[option]] = value
        return found

    def converted(self, name: str, raw: Any) -> Any:
        """What was said as the parameter's type."""
        try:
            return convert(self.known[name].hint, raw)
        except ValueError as error:
            option = name if self.known[name] in self.bare else self.command.option(name)
            raise InputError(f"{option} must be {error}, not {raw if str(raw) else 'empty'}.") from None


def _is_option(token: str) -> bool:
    return token.startswith("-") and len(token) > 1 and not token[1].isdigit() and token[1] != "."


def _choices(hint: Any) -> tuple[Any, ...]:
    """The types that a union offers, without None; one type alone is its own."""
    union = get_origin(hint) in (Union, types.UnionType)
    return tuple(kind for kind in (get_args(hint) if union else (hint,)) if kind is not types.NoneType)


def _is_list(parameter: Parameter) -> bool:
    return get_origin(_choices(parameter.hint)[0]) in (list, tuple)


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"'{text[:40]}' is not YAML ({str(error).splitlines()[0]}).") from None


def convert(hint: Any, value: Any) -> Any:
    """A word, or a value from YAML, as a type.

    Raises:
        ValueError: it cannot be; the message says what it must be.
    """
    kinds = _choices(hint)
    if value is None and types.NoneType in get_args(hint):
        return None
    if len(kinds) > 1:
        wanted = []
        for kind in kinds:
            try:
                return convert(kind, value)
            except ValueError as error:
                wanted.append(str(error))
        raise ValueError(" or ".join(wanted))
    kind, inner = kinds[0], get_args(kinds[0])
    if get_origin(kind) is Literal:
        for choice in inner:
            if str(choice) == str(value):
                return choice
        raise ValueError(f"one of {', '.join(map(str, inner))}" if len(inner) > 1 else str(inner[0]))
    if get_origin(kind) in (list, tuple):
        return _converted_list(kind, value)
    if kind is bool:
        if str(value).lower() not in ("true", "false"):
            raise ValueError("true or false")
        return str(value).lower() == "true"
    text = str(value)
    try:
        return kind(_YAML_NUMBERS.get(text, text) if kind is float else text)
    except ValueError:
        raise ValueError("a whole number" if kind is int else "a number") from None


def _converted_list(kind: Any, value: Any) -> Any:
    inner = get_args(kind)
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if get_origin(kind) is tuple and inner[-1] is not Ellipsis and len(items) != len(inner):
        raise ValueError(f"{len(inner)} values")
    return get_origin(kind)(convert(inner[0], item) for item in items)


def _help(prog: str, command: Command[Any], bare: list[Parameter]) -> str:
    """Help in the words of the docstrings, with what holds if nothing is said."""
    about = inspect.cleandoc(command.__doc__ or "").split("\nArgs:")[0].rstrip()
    layout = functools.partial(argparse.HelpFormatter, max_help_position=28, width=110)
    parser = argparse.ArgumentParser(prog, description=about, formatter_class=layout)
    for parameter in bare:
        several = _is_list(parameter)
        parser.add_argument(parameter.name, help=_about(parameter), nargs="+" if several else None)
    common = parser.add_argument_group("options of every verb")
    for parameter in (*command.parameters.values(), *_COMMON.values(), _CONFIG):
        if parameter in bare:
            continue
        group = common if parameter.name in {*_COMMON, "config"} else parser
        option = command.option(parameter.name)
        names = [option] + [f"-{parameter.name}"] * (len(parameter.name) == 1 and option[1] == "-")
        metavar = option.lstrip("-").upper().replace("-", "_")
        shown: dict[str, Any] = {"metavar": f"{metavar} …" if _is_list(parameter) else metavar}
        if parameter.is_switch:
            both = parameter.default is not False  # Also --no-NAME.
            shown = {"action": argparse.BooleanOptionalAction if both else "store_true"}
        group.add_argument(*names, dest=parameter.name, help=_about(parameter), default=None, **shown)
    return parser.format_help().rstrip()


def _about(parameter: Parameter) -> str:
    text, default = parameter.about.replace("%", "%%"), parameter.default
    if default is REQUIRED or default is None or default is False or default in ("", (), []):
        return text
    shown = " ".join(map(str, default)) if isinstance(default, (tuple, list)) else default
    return f"{text.rstrip('.')} (default: {'yes' if default is True else shown})."


__all__ = ["convert", "read_options"]
