"""`plenish score` and `plenish study`, each followed by its report: what measures knows nothing of pages."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

from plenish.metrics import score as scoring
from plenish.progress import warn
from plenish.study import run as studying

Asked = ParamSpec("Asked")
Result = TypeVar("Result", scoring.ScoreResult, studying.Study)


def _reported(measure: Callable[Asked, Result], kind: Literal["score", "study"]) -> Callable[Asked, Result]:
    """The same function, which then writes report.html beside the result."""

    @functools.wraps(measure)
    def call(*args: Asked.args, **kwargs: Asked.kwargs) -> Result:
        result = measure(*args, **kwargs)
        return dataclasses.replace(result, report=_report(result.path, kind))

    return call


def _report(folder: Path, kind: Literal["score", "study"]) -> Path | None:
    try:
        from plenish.report import build

        return (build.write_score_report if kind == "score" else build.write_study_report)(folder)
    except ImportError as error:  # a missing drawing library must not cost the result
        warn(f"the report could not be written ({error}); {kind}.json in {folder} holds the result.")
        return None


score = _reported(scoring.score, "score")
study = _reported(studying.study, "study")
