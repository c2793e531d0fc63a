"""`plenish latents`: encodings of a Dataset drawn in two dimensions, and correlated with its columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.datasets.tables import write_table
from plenish.errors import InputError, unknown
from plenish.latent.projection import Components, encodings_of, eta_squared, fit_umap, spearman
from plenish.wording import plural

_NOT_CORRELATED = ("id", "sha256", "source")
_MOST_CLASSES = 12


def draw_encodings(
    data: Path, out: Path, *, array: str = "cae", colour: str | None = None, split: str = "default",
    components: int = 10, umap: bool = False, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Draw an array of encodings coloured by a column, and correlate it with every column.

    The folder gets pca.png (and umap.png), correlations.csv (rank correlation with numbers, share of variance
    between classes), projection.parquet and latents.json. Components and UMAP are fitted on the train part
    where there is a split, and applied to all images.

    Args:
        data: the Dataset.
        out: the folder; must not exist.
        array: name of the array, from `plenish encode`.
        colour: column to colour by; the label by default.
        split: the split whose train part is fitted on; all rows where the Dataset has none.
        components: principal components that are kept and correlated.
        umap: draw UMAP too; needs plenish[umap].
        seed: seed of UMAP.

    Returns:
        What was made: the strongest correlations, and where the rest is.
    """
    if components < 2:
        raise InputError(f"--components must be at least 2, not {components}.")
    dataset = Dataset.open(data)
    encodings = encodings_of(dataset, array)
    colours = colour or ("label" if dataset.labels.kind == "categorical" else None)
    if colours is not None and colours not in dataset.table:
        raise unknown("column", colours, [str(c) for c in dataset.table.columns])
    rows = np.arange(len(dataset), dtype=np.int64)
    fitted = dataset.split(split).rows("train") if dataset.split_names() else rows
    fit = Components.fit(encodings[fitted], components)
    coordinates = fit.project(encodings)
    config = {
        "latents": array, "sha256": dataset.array_manifest(array)["sha256"], "colour": colours, "umap": umap,
        "components": components, "split": split, "seed": seed,
    }  # fmt: skip
    with files.atomic_dir(out, config) as folder:
        if dataset.split_names():
            dataset.record_read("latents")
        drawn = {}
        if coordinates.shape[1] > 1:
            first, second = 100 * fit.share[:2]
            labels = f"component 1 ({first:.1f} % of variance)", f"component 2 ({second:.1f} %)"
            drawn["pca"] = coordinates[:, :2], labels
        columns = {"id": dataset.column("id")} | {f"pc{d}": x for d, x in enumerate(coordinates.T, 1)}
        if umap:
            drawn["umap"] = fit_umap(encodings, fitted, seed), ("UMAP 1", "UMAP 2")
            columns["umap1"], columns["umap2"] = drawn["umap"][0].T
        table = pa.Table.from_pandas(pd.DataFrame(columns), preserve_index=False)
        write_table(folder / "projection.parquet", table)
        for name, (xy, labels) in drawn.items():
            values = None if colours is None else dataset.table[colours]
            draw(folder / f"{name}.png", xy, values, colours or "", labels)
        correlations = correlate(dataset.table, coordinates)
        correlations.to_csv(folder / "correlations.csv", index=False)
        content = {
            "schema": 1, "kind": "latents", "array": array, "images": len(encodings),
            "features": encodings.shape[1], "fitted_on": f"{plural(len(fitted), 'image')}"
            + (f" of train in the split '{split}'" if dataset.split_names() else ""),
            "explained": fit.share.tolist(), "pictures": [f"{name}.png" for name in drawn],
            "correlations": correlations.to_dict("records"), "data": dataset.provenance(),
            "model": dataset.array_manifest(array).get("model"),
        }  # fmt: skip
        files.write_json(folder / "latents.json", content)
    shown = ("array", "images", "features", "fitted_on", "explained", "pictures")
    strongest = files.finite(content["correlations"][:8])
    return {key: content[key] for key in shown} | {"folder": str(out), "strongest": strongest}


def correlate(table: pd.DataFrame, coordinates: NDArray[np.float64]) -> pd.DataFrame:
    """Correlation of each component with each column, the strongest first.

    Numbers: Spearman's rank correlation over the rows that have one. Words: the share of the component's
    variance that lies between them. Columns that never vary, or name every row differently, are left out.

    Args:
        table: N rows of a Dataset.
        coordinates: N×D.

    Returns:
        Columns `column`, `component` (from 1), `measure` (`spearman` or `eta_squared`), `value`, `rows`.
    """
    found = []
    for column, values in table.items():
        known, present = values.dropna(), values.notna().to_numpy()
        if column in _NOT_CORRELATED or len(known) < 3 or known.map(pd.api.types.is_list_like).any():
            continue
        numeric = _is_numeric(values)
        if not 1 < known.nunique() < (np.inf if numeric else len(known)):
            continue
        measure: Callable[[Any, Any], float] = spearman if numeric else eta_squared
        found += [
            {
                "column": str(column), "component": d, "measure": "spearman" if numeric else "eta_squared",
                "value": measure(x[present], known.to_numpy()), "rows": len(known),
            }
            for d, x in enumerate(coordinates.T, 1)
        ]  # fmt: skip
    result = pd.DataFrame(found, columns=["column", "component", "measure", "value", "rows"])
    return result.sort_values("value", key=abs, ascending=False, kind="stable", ignore_index=True)


def _is_numeric(values: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def draw(
    path: Path, xy: NDArray[np.float64], values: pd.Series[Any] | None, name: str, labels: tuple[str, str]
) -> None:
    """Scatter N×2 coordinates into a PNG file, coloured by a column of numbers or of words.

    The eleven most frequent words have a colour each, all others share one.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.8, 5.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    order = np.random.default_rng(0).permutation(len(xy))  # No class covers another by its order.
    size = float(np.clip(16000 / max(len(xy), 1), 5, 30))
    options: dict[str, Any] = {"s": size, "alpha": 0.75, "linewidths": 0}
    if values is None:
        axes.scatter(xy[order, 0], xy[order, 1], color="#0072b2", **options)
    elif _is_numeric(values):
        numbers = values.to_numpy(float)
        finite = np.isfinite(numbers)
        axes.scatter(xy[~finite, 0], xy[~finite, 1], color="#c8c8c8", **options)
        shown = order[finite[order]]
        drawn = axes.scatter(xy[shown, 0], xy[shown, 1], c=numbers[shown], cmap="viridis", **options)
        figure.colorbar(drawn, label=name)
    else:
        words, colour_of = _colour_of_words(values)
        axes.scatter(xy[order, 0], xy[order, 1], c=words.map(colour_of).to_numpy()[order].tolist(), **options)
        for word, colour in colour_of.items():
            axes.scatter([], [], color=colour, label=word.replace("$", r"\$"), s=24)
        axes.legend(title=name.replace("$", r"\$"), frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.grid(alpha=0.25)
    figure.savefig(path, format="png")


def _colour_of_words(values: pd.Series[Any]) -> tuple[pd.Series[str], dict[str, Any]]:
    """The word of each row, rare ones as `others`, and the colour of each word, in the legend's order."""
    from matplotlib import colormaps

    words = values.astype(object).where(values.notna(), "none").astype(str)
    frequent = words.value_counts().index
    if len(frequent) > _MOST_CLASSES:
        words = words.where(words.isin(frequent[: _MOST_CLASSES - 1]), "others")
    classes = sorted(words.unique(), key=lambda c: (c == "others", c))
    palette = colormaps["tab10" if len(classes) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    return words, dict(zip(classes, palette))
