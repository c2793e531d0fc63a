"""Robustness of classifiers: attacks, training against them, and what is left under attack.

`plenish.robustness.evaluate(model, data)` is the whole protocol in one call. Names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plenish.robustness.evaluation import Evaluation as Evaluation
    from plenish.robustness.evaluation import evaluate as evaluate
    from plenish.robustness.evaluation_config import EvaluationConfig as EvaluationConfig
    from plenish.robustness.registry import ATTACKS as ATTACKS
    from plenish.robustness.target import Target as Target
    from plenish.robustness.target_sources import open_target as open_target

_HOMES = {
    "ATTACKS": "registry", "Evaluation": "evaluation", "EvaluationConfig": "evaluation_config",
    "Target": "target", "evaluate": "evaluation", "open_target": "target_sources",
}  # fmt: skip
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"plenish.robustness.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'plenish.robustness' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
