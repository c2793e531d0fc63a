"""Commands: functions whose configuration objects are flat options, and the record of how they were called.

A command's parameters are those of its function; one whose type is a dataclass stands for the fields of that
class. The command line, Python and the record that Runs and Datasets keep all follow from these. A writer of
results puts `record()` into them: what the innermost command at work was asked.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import inspect
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from plenish import settings
from plenish.configuration import check_bounds, option_name
from plenish.errors import InputError

Result = TypeVar("Result")
REQUIRED = inspect.Parameter.empty
_SEED = {"least": 0, "below": 2**63}


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One option of a command.

    Attributes:
        name: of the parameter, or of the field.
        hint: its type.
        default: its default, or REQUIRED.
        kind: positional or keyword-only, as in `inspect`.
        about: what the docstring says of it.
        bounds: the numbers it must lie between, as in `configuration.option`.
        group: the function's parameter that holds it, where that is a configuration object.
    """

    name: str
    hint: Any
    default: Any
    kind: Any
    about: str = ""
    bounds: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    group: str | None = None

    @property
    def is_switch(self) -> bool:
        """Whether it is typed alone, as --name or --no-name."""
        return self.hint in (bool, bool | None)

    @property
    def takes_file(self) -> bool:
        """Whether it is true, false or a file: --name alone is true."""
        return not self.is_switch and bool in get_args(self.hint)

    @property
    def is_list(self) -> bool:
        """Whether it takes several words."""
        return any(get_origin(kind) in (list, tuple) for kind in (self.hint, *get_args(self.hint)))

    @property
    def adds(self) -> bool:
        """Whether words of several such options are added up: --options, and what `option` says so of."""
        return self.name == "options" or bool(self.bounds.get("adds"))

    @property
    def is_required(self) -> bool:
        """Whether it must be given, and may be without its option."""
        return self.default is REQUIRED and self.kind is not inspect.Parameter.KEYWORD_ONLY


def described(doc: str | None) -> dict[str, str]:
    """What a docstring says under Args or Attributes, by name."""
    found: dict[str, str] = {}
    name, inside = "", False
    for line in inspect.cleandoc(doc or "").splitlines():
        if not line.startswith(" "):
            inside = line in ("Args:", "Attributes:") or (inside and not line)
        elif inside and (entry := re.fullmatch(r" {4}(\w+): (.*)", line)):
            name = entry[1]
            found[name] = entry[2]
        elif inside and name:
            found[name] += " " + line.strip()
    return found


def fields_of(kind: type, group: str | None = None) -> list[Parameter]:
    """The fields of a dataclass as keyword-only parameters."""
    about, hints = {}, get_type_hints(kind)
    for base in reversed(kind.__mro__):
        about.update(described(base.__doc__))
    found = []
    for field in dataclasses.fields(kind):
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        found.append(
            Parameter(
                field.name, hints[field.name], REQUIRED if default is dataclasses.MISSING else default,
                inspect.Parameter.KEYWORD_ONLY, about.get(field.name, ""), field.metadata, group,
            )
        )  # fmt: skip
    return found


class Command(Generic[Result]):
    """A function as a verb: takes the fields of its configuration objects as keywords, and paths as strings.

    Attributes:
        name: the verb, as it is typed.
        parameters: its options by name.
        renamed: parameter → option, where the option's word is reserved in Python.
        bare: parameters that take words without an option, in order.
        instead: commands that run in this one's place where their option is typed, by option.
    """

    def __init__(
        self, function: Callable[..., Result], name: str, renamed: Mapping[str, str],
        positional: Sequence[str], instead: Mapping[str, Command[Any]],
    ) -> None:  # fmt: skip
        """See `command`."""
        functools.update_wrapper(self, function)
        self.function, self.name, self.renamed, self.instead = function, name, renamed, instead
        self._groups: dict[str, Any] = {}
        self.parameters = {parameter.name: parameter for parameter in self._flat()}
        self.bare = [p for p in self.parameters.values() if p.is_required or p.name in positional]
        self.__signature__ = inspect.Signature(
            [
                inspect.Parameter(p.name, p.kind, default=p.default, annotation=p.hint)
                for p in sorted(self.parameters.values(), key=lambda p: p.kind)
            ]
        )

    def _flat(self) -> Iterator[Parameter]:
        # The return type may name a class that only type checkers import.
        said = {key: value for key, value in self.function.__annotations__.items() if key != "return"}
        hints = get_type_hints(type("_Said", (), {"__annotations__": said}), self.function.__globals__)
        about = described(self.function.__doc__)
        for name, parameter in inspect.signature(self.function).parameters.items():
            hint = hints.get(name, str)
            if dataclasses.is_dataclass(hint):
                self._groups[name] = hint
                yield from fields_of(hint, name)  # type: ignore[arg-type]
            else:
                yield Parameter(name, hint, parameter.default, parameter.kind, about.get(name, ""))

    def option(self, name: str) -> str:
        """A parameter as it is typed: --checkpoint-kimg."""
        return option_name(self.renamed.get(name, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Result:
        """Call the function; fields and configuration objects are both taken.

        Raises:
            InputError: a number outside the bounds of its option.
        """
        for group in self._groups.keys() & kwargs.keys():
            given = kwargs.pop(group)
            kwargs = {f.name: getattr(given, f.name) for f in dataclasses.fields(given)} | kwargs
        bound = self.__signature__.bind(*args, **kwargs)
        bound.apply_defaults()
        values = {name: self._checked(self.parameters[name], v) for name, v in bound.arguments.items()}
        arguments = {name: values[name] for name, p in self.parameters.items() if p.group is None}
        options = {self.option(name).lstrip("-"): value for name, value in values.items()}
        call = {
            "verb": self.name, "argv": _typed.get(), "options": json.loads(json.dumps(options, default=str)),
            "repeat": shlex.join(self._words(values)),
        }  # fmt: skip
        with settings.holding(_current, call), typed(None):  # A command that it calls was not typed.
            for group, kind in self._groups.items():
                mine = [p.name for p in self.parameters.values() if p.group == group]
                arguments[group] = kind(**{name: values[name] for name in mine})
            return self.function(**arguments)

    def _checked(self, parameter: Parameter, value: Any) -> Any:
        bounds = _SEED if parameter.name == "seed" else parameter.bounds
        check_bounds(self.option(parameter.name), value, bounds)
        kinds = (parameter.hint, *get_args(parameter.hint))
        if value == "" and Path in kinds:
            raise InputError(f"{parameter.name} is empty; give a path, such as '.' for this folder.")
        return Path(value) if isinstance(value, str) and Path in kinds and str not in kinds else value

    def _words(self, values: Mapping[str, Any]) -> Iterator[str]:
        """The command in the words of a shell; options that have their default are left out."""
        yield from ("plenish", *self.name.split())
        for name, parameter in self.parameters.items():
            if parameter.is_required:
                yield from map(str, values[name] if parameter.is_list else [values[name]])
        for name, parameter in self.parameters.items():
            if not parameter.is_required and values[name] != parameter.default:
                yield from _option_words(self.option(name), values[name], parameter.is_switch)
        yield from setting_words("quiet", "json")


def setting_words(*without: str) -> Iterator[str]:
    """The settings in force in the words of a shell; those that have their default are left out."""
    for setting in fields_of(settings.Settings):
        value = getattr(settings.current(), setting.name)
        if setting.name not in without and value != setting.default:
            yield from _option_words(option_name(setting.name), value, setting.is_switch)


def _option_words(option: str, value: Any, is_switch: bool) -> list[str]:
    if isinstance(value, bool):
        return [option if value else f"--no-{option[2:]}"] if is_switch else [option, str(value).lower()]
    if isinstance(value, (list, tuple)):
        words = [str(item) for item in value]
        odd = any(word.startswith(("-", "[")) for word in words)
        return [f"{option}={json.dumps(words)}"] if odd else [option, *words]
    text = str(value)
    return [f"{option}={text}"] if text.startswith("-") else [option, text]


def command(
    name: str, *, renamed: Mapping[str, str] = {}, positional: Sequence[str] = (),
    instead: Mapping[str, Command[Any]] = {},
) -> Callable[[Callable[..., Result]], Command[Result]]:  # fmt: skip
    """Make a function a command.

    Args:
        name: the verb, as it is typed: "train gan".
        renamed: parameter → option, where the option's word is reserved in Python.
        positional: optional parameters that may also be given without their option.
        instead: commands that run in this one's place where their option is typed, such as --list-presets.
    """
    return lambda function: Command(function, name, renamed, positional, instead)


_typed: contextvars.ContextVar[Sequence[str] | None] = contextvars.ContextVar("plenish_argv", default=None)
_current: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("plenish_call", default=None)


def typed(argv: Sequence[str] | None) -> contextlib.AbstractContextManager[None]:
    """Calls in a `with` block come from this command line."""
    return settings.holding(_typed, argv)


def unrecorded() -> contextlib.AbstractContextManager[None]:
    """What is written in a `with` block does not tell of the command, its paths and its folder."""
    return settings.holding(_current, None)


def record() -> dict[str, Any] | None:
    """The command at work, as results keep it: verb, argv as typed, options, the line to repeat it.

    None where a function was called that is no command.
    """
    call = _current.get()
    return None if call is None else {**call, "folder": str(Path.cwd())}


__all__ = [
    "REQUIRED", "Command", "Parameter", "command", "fields_of", "record", "setting_words", "typed",
    "unrecorded",
]  # fmt: skip
