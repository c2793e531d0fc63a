"""The names that `import plenish` offers."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import plenish
from plenish import cli


@pytest.fixture(scope="module")
def everything_imported() -> None:
    for module in pkgutil.walk_packages(plenish.__path__, "plenish."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


@pytest.mark.parametrize("name", [n for n in plenish.__all__ if n != "__version__"])
def test_every_name_is_callable_also_when_all_modules_are_loaded(
    name: str, everything_imported: None
) -> None:
    for _ in range(2):
        assert callable(getattr(plenish, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'studdy'"):
        _ = plenish.studdy


def test_every_command_is_a_function_of_the_package() -> None:
    offered = {id(getattr(plenish, name)) for name in plenish.__all__}
    assert [verb for verb in cli.VERBS if id(cli.load_command(verb)) not in offered] == []
    assert plenish.train_classifier.name == "train classifier"
    assert plenish.edit_flip.name == "edit flip"
