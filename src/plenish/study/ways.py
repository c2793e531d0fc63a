"""A table of accuracies: classifiers trained on real or generated images, tested on either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plenish.errors import InputError
from plenish.metrics.result_files import read_result
from plenish.study.verdicts import PRIMARY_METRIC, find_row


def accuracies(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The accuracies of each arm on real and on generated test images.

    Args:
        study: study.json of a study that tested on generated images.

    Returns:
        For each arm and `tested_on` (`real`, `generated`): `trained_on` (the arm), `images` it was trained
        on (mean over the seeds), `test_images`, `seeds`, `accuracy` (mean over the seeds), and
        `balanced_accuracy` with `low` and `high`, its interval, None or nan where there is none.

    Raises:
        InputError: it tested on no generated images.
    """
    external = study.get("external")
    if not external or not external.get("generated"):
        raise InputError("The study tested on no generated images; give it --test-data, a synthetic Dataset.")
    rows = []
    for arm in study["arms"]:
        trained = [sum(cell["trained_on"].values()) for cell in study["cells"] if cell["arm"] == arm]
        for tested_on, result in (("real", study), ("generated", external)):
            found = [cell["metrics"]["accuracy"] for cell in result["cells"] if cell["arm"] == arm]
            row = find_row(result["summary"], PRIMARY_METRIC, arm=arm)
            rows.append(
                {
                    "trained_on": arm, "tested_on": tested_on, "images": round(sum(trained) / len(trained)),
                    "test_images": result["test"]["n"], "seeds": len(found),
                    "accuracy": sum(found) / len(found), "balanced_accuracy": row["mean"],
                    "low": row["low"], "high": row["high"],
                }
            )  # fmt: skip
    return rows


def side_by_side(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Mapping[str, Any]]]:
    """Rows of `accuracies` or `table_of_studies` in pairs, those of one training: `real` and `generated`."""
    pairs: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        pairs.setdefault((row.get("row"), row["trained_on"]), {})[row["tested_on"]] = row
    return [*pairs.values()]


def table_of_studies(studies: Mapping[str, Path]) -> list[dict[str, Any]]:
    """`accuracies` of several studies, each row with the study's name as `row`.

    Args:
        studies: folders of studies by name.

    Raises:
        InputError: one tested on no generated images.
    """
    found = []
    for name, path in studies.items():
        content, _ = read_result(path, "study")
        found += [{"row": name, **row} for row in accuracies(content)]
    return found
