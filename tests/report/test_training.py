"""Charts of the training: losses first, a few layers of many, and the discriminator's confusion matrix."""

from __future__ import annotations

import numpy as np
import pandas as pd

from plenish.report.figures import curves
from plenish.report.training import confusion_table, layers, single_values, training_charts

LAYERS = ["a", "b", "c", "d", "e"]


def _table(n: int = 6) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "kimg": np.arange(n) + 1.0,
            "loss_g": 1.0,
            "loss_d": 0.5,
            "d_accuracy_real": 0.9,
            "d_accuracy_fake": 0.8,
            "real_as_real": 0.9,
            "real_as_fake": 0.1,
            "fake_as_fake": 0.8,
            "fake_as_real": 0.2,
            "d_real": 0.7,
            "d_fake": 0.2,
            "score_real": 1.5,
            "score_fake": -1.5,
            "images": 40,
            "grad_g": 2.0,
            **{f"grad_g/{name}": 10.0**-i for i, name in enumerate(LAYERS)},
        }
    )


def test_first_middle_and_last_layer_stand_for_all() -> None:
    names = ["grad_d", "grad_g", *(f"grad_g/{name}" for name in LAYERS)]
    assert layers(names, "g") == [
        ("grad_g", "all"),
        ("grad_g/a", "first: a"),
        ("grad_g/c", "middle: c"),
        ("grad_g/e", "last: e"),
    ]
    assert layers(names, "d") == [("grad_d", "all")]


def test_every_chart_has_its_name_and_layers_are_not_charts_of_their_own() -> None:
    titles = [chart.title for chart in training_charts(_table())]
    assert titles == [
        "Losses",
        "Discriminator's accuracy",
        "Discriminator's mistakes",
        "Discriminator's probability of “real”",
        "Gradients of the generator",
    ]
    without = training_charts(_table().drop(columns=["d_real", "d_fake"]))
    assert "Scores of the discriminator" in [chart.title for chart in without]


def test_the_confusion_matrix_is_that_of_the_last_interval_in_counts_and_percent() -> None:
    table = _table()
    table.loc[0, "real_as_real"] = 0.0
    found = confusion_table(table)
    assert [list(row.values()) for row in found.rows] == [
        ["real images", "36 (90.0\u00a0%)", "4 (10.0\u00a0%)"],
        ["synthetic images", "8 (20.0\u00a0%)", "32 (80.0\u00a0%)"],
    ]
    assert not confusion_table(table.drop(columns=["images"]))


def test_a_logarithmic_chart_leaves_out_what_has_no_logarithm() -> None:
    chart = curves("Norms", {"first": ([1, 2, 3], [1e-6, 0.0, 10.0])}, log=True)
    assert chart.alt == "Norms: first from 1.00e−06 to 10.0."


def test_a_single_value_is_said_in_words_and_is_no_curve() -> None:
    table = _table().assign(kid_val=[np.nan] * 5 + [1.5])
    (said,) = single_values(table)
    assert "1.50" in said
    assert "6 kimg" in said
    assert [c.title for c in training_charts(table)] == [c.title for c in training_charts(_table())]
    assert single_values(table.assign(kid_val=np.arange(6.0))) == []
