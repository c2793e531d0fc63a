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
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from plenish import settings
from plenish.configuration import check_bounds, option_name

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
        bounds = (_SEED if field.name == "seed" else {}) | dict(field.metadata)
        found.append(
            Parameter(
                field.name, hints[field.name], REQUIRED if default is dataclasses.MISSING else default,
                inspect.Parameter.KEYWORD_ONLY, about.get(field.name, ""), bounds, group,
            )
        )  # fmt: skip
    return found


class Command(Generic[Result]):
    """A function as a verb: takes the fields of its configuration objects as keywords, and paths as strings.

    Attributes:
        name: the verb, as it is typed.
        parameters: its options by name.
        renamed: parameter → option, where the option's word is reserved in Python.
        positional: optional parameters that may also be given without their option.
        first: the option that the first bare word is given to.
    """

    def __init__(
        self, function: Callable[..., Result], name: str, renamed: Mapping[str, str] = {},
        positional: Sequence[str] = (), first: str = "",
    ) -> None:  # fmt: skip
        """See `command`."""
        functools.update_wrapper(self, function)
        self.function, self.name, self.renamed = function, name, renamed
        self.positional, self.first = tuple(positional), first
        self._groups: dict[str, Any] = {}
        self.parameters = {parameter.name: parameter for parameter in self._flat()}
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
                bounds = _SEED if name == "seed" else {}
                yield Parameter(name, hint, parameter.default, parameter.kind, about.get(name, ""), bounds)

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
        with _entered(Invocation(self.name, _typed.get(), self.options(values), tuple(self.words(values)))):
            for group, kind in self._groups.items():
                mine = [p.name for p in self.parameters.values() if p.group == group]
                arguments[group] = kind(**{name: values[name] for name in mine})
            return self.function(**arguments)

    def _checked(self, parameter: Parameter, value: Any) -> Any:
        check_bounds(self.option(parameter.name), value, parameter.bounds)
        kinds = (parameter.hint, *get_args(parameter.hint))
        return Path(value) if isinstance(value, str) and Path in kinds and str not in kinds else value

    def options(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """All options with their values, by option name without dashes, JSON-able."""
        return {self.option(name).lstrip("-"): _jsonable(value) for name, value in values.items()}

    def words(self, values: Mapping[str, Any]) -> Iterator[str]:
        """The command in the words of a shell; options that have their default are left out."""
        yield from ("plenish", *self.name.split())
        if self.first:
            yield str(values[self.first])
        optional = []
        for name, parameter in self.parameters.items():
            if parameter.default is REQUIRED and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                yield from map(str, values[name] if isinstance(values[name], list) else [values[name]])
            elif name != self.first and values[name] != parameter.default:
                optional.append(name)
        for name in optional:
            yield from _option_words(self.option(name), values[name], self.parameters[name].is_switch)
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


def _jsonable(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def command(
    name: str, *, renamed: Mapping[str, str] = {}, positional: Sequence[str] = (), first: str = ""
) -> Callable[[Callable[..., Result]], Command[Result]]:
    """Make a function a command.

    Args:
        name: the verb, as it is typed: "train gan".
        renamed: parameter → option, where the option's word is reserved in Python.
        positional: optional parameters that may also be given without their option.
        first: the option that the first bare word is given to.
    """
    return lambda function: Command(function, name, renamed, positional, first)


@dataclasses.dataclass(frozen=True)
class Invocation:
    """One call of a command.

    Attributes:
        verb: the command's name.
        argv: what was typed; None from Python.
        options: every option with its value.
        words: the same call as the words of a shell, without what has its default.
    """

    verb: str
    argv: tuple[str, ...] | None
    options: Mapping[str, Any]
    words: tuple[str, ...]


_typed: contextvars.ContextVar[tuple[str, ...] | None] = contextvars.ContextVar("plenish_argv", default=None)
_current: contextvars.ContextVar[Invocation | None] = contextvars.ContextVar("plenish_call", default=None)


@contextlib.contextmanager
def typed(argv: Sequence[str]) -> Iterator[None]:
    """Calls in a `with` block come from this command line."""
    token = _typed.set(tuple(argv))
    try:
        yield
    finally:
        _typed.reset(token)


@contextlib.contextmanager
def _entered(call: Invocation) -> Iterator[None]:
    token, typed_token = _current.set(call), _typed.set(None)  # A command that it calls was not typed.
    try:
        yield
    finally:
        _current.reset(token)
        _typed.reset(typed_token)


def record() -> dict[str, Any] | None:
    """The command at work, as results keep it: verb, argv as typed, options, the line to repeat it.

    None where a function was called that is no command.
    """
    call = _current.get()
    if call is None:
        return None
    return {
        "verb": call.verb, "argv": list(call.argv) if call.argv is not None else None,
        "options": dict(call.options), "repeat": shlex.join(call.words), "folder": str(Path.cwd()),
    }  # fmt: skip


__all__ = [
    "REQUIRED", "Command", "Invocation", "Parameter", "command", "fields_of", "record", "setting_words",
    "typed",
]  # fmt: skip
