"""`plenish latents` and `plenish nearest`: figures, correlations and neighbours in an array of encodings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish import files
from plenish.errors import InputError, unknown
from plenish.wording import plural

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from plenish.datasets.dataset import Dataset
    from plenish.latent.projection import Components

_NOT_COLUMNS = ("id", "sha256", "source")
_MOST_CLASSES = 12


@dataclasses.dataclass(frozen=True)
class Latents:
    """What `plenish latents` made.

    Attributes:
        path: its folder.
        content: what latents.json holds.
    """

    path: Path
    content: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """JSON-able form: the strongest relations, and where the rest is."""
        keys = ("array", "images", "features", "fitted_on", "explained", "pictures")
        return {
            **{key: self.content[key] for key in keys}, "folder": str(self.path),
            "strongest": self.content["correlations"][:8],
        }  # fmt: skip


def latents(
    data: Path, out: Path, *, array: str = "cae", colour: str | None = None, split: str = "default",
    components: int = 10, umap: bool = False, seed: int = 0,
) -> Latents:  # fmt: skip
    """Draw an array of encodings coloured by a column, and correlate it with every column.

    The folder gets pca.png (and umap.png), correlations.csv (rank correlation with numbers, share of variance
    between classes), projection.parquet and latents.json. Components and UMAP are fitted on the train part
    where there is a split; the others are laid into them.

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
        What was made.
    """
    if components < 2:
        raise InputError(f"--components must be at least 2, not {components}.")
    import numpy as np

    from plenish.datasets.dataset import Dataset
    from plenish.latent.projection import Components
    from plenish.latent.projection import umap as by_umap

    dataset = Dataset.open(data)
    encodings = _encodings(dataset, array)
    colours = colour or ("label" if dataset.labels.kind == "categorical" else None)
    if colours is not None and colours not in dataset.table:
        raise unknown("column", colours, [str(c) for c in dataset.table.columns])
    rows = np.arange(len(dataset), dtype=np.int64)
    fitted = dataset.split(split).rows("train") if dataset.split_names() else rows
    fit = Components.fit(encodings[fitted], components)
    places = fit.project(encodings)
    config = {
        "latents": array, "sha256": dataset.array_manifest(array)["sha256"], "colour": colours, "umap": umap,
        "components": components, "split": split, "seed": seed,
    }  # fmt: skip
    with files.atomic_dir(out, config) as folder:
        drawn = {"pca": places[:, :2]} if places.shape[1] > 1 else {}
        if umap:
            drawn["umap"] = by_umap(encodings, fitted, seed)
        correlations = correlate(dataset.table, places)
        correlations.to_csv(folder / "correlations.csv", index=False)
        values = None if colours is None else dataset.table[colours]
        for name, xy in drawn.items():
            labels = _axes(name, fit)
            draw(folder / f"{name}.png", xy, values, colours or "", labels)
        _write_places(folder / "projection.parquet", dataset, places, drawn.get("umap"))
        content = {
            "schema": 1, "kind": "latents", "array": array, "images": len(encodings),
            "features": encodings.shape[1], "fitted_on": f"{plural(len(fitted), 'image')}"
            + (f" of train in the split '{split}'" if dataset.split_names() else ""),
            "explained": [float(share) for share in fit.share], "pictures": [f"{name}.png" for name in drawn],
            "correlations": correlations.to_dict("records"), "data": dataset.provenance(),
            "model": dataset.array_manifest(array).get("model"),
        }  # fmt: skip
        files.write_json(folder / "latents.json", content)
    return Latents(out, files.read_json(out / "latents.json"))


def _encodings(dataset: Dataset, name: str) -> NDArray[Any]:
    if name not in dataset.array_names():
        if not dataset.array_names():
            raise InputError(
                f"{dataset.path} has no arrays; make one with 'plenish encode RUN {dataset.path}'."
            )
        raise unknown("array", name, dataset.array_names())
    array = dataset.array(name)
    return array.reshape(len(array), -1)


def _axes(name: str, fit: Components) -> tuple[str, str]:
    if name != "pca":
        return "UMAP 1", "UMAP 2"
    return (
        f"component 1 ({100 * fit.share[0]:.1f} % of variance)",
        f"component 2 ({100 * fit.share[1]:.1f} %)",
    )


def correlate(table: pd.DataFrame, places: NDArray[np.float64]) -> pd.DataFrame:
    """How each component goes with each column, the strongest first.

    Numbers: Spearman's rank correlation over the rows that have one. Words: the share of the component's
    variance that lies between them. Columns that never vary, or name every row differently, are left out.

    Args:
        table: N rows of a Dataset.
        places: N×D.

    Returns:
        Columns `column`, `component` (from 1), `measure` (`spearman` or `eta_squared`), `value`, `rows`.
    """
    import numpy as np
    import pandas as pd

    from plenish.latent.projection import eta_squared, spearman

    found = []
    for column in table.columns:
        values = table[column]
        there = values.notna().to_numpy()
        if column in _NOT_COLUMNS or there.sum() < 3 or values[there].map(_is_list).any():
            continue
        number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        if not 1 < values[there].nunique() < (np.inf if number else there.sum()):
            continue
        for d in range(places.shape[1]):
            x = places[there, d]
            value = spearman(x, values[there].to_numpy()) if number else eta_squared(x, list(values[there]))
            found.append(
                {
                    "column": str(column), "component": d + 1,
                    "measure": "spearman" if number else "eta_squared", "value": value,
                    "rows": int(there.sum()),
                }
            )  # fmt: skip
    result = pd.DataFrame(found, columns=["column", "component", "measure", "value", "rows"])
    return result.sort_values("value", key=abs, ascending=False, kind="stable", ignore_index=True)


def _is_list(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str)


def _write_places(
    path: Path, dataset: Dataset, places: NDArray[np.float64], umap: NDArray[np.float64] | None
) -> None:
    import pandas as pd
    import pyarrow as pa

    from plenish.datasets.tables import write_table

    table = pd.DataFrame({"id": dataset.column("id")})
    for d in range(places.shape[1]):
        table[f"pc{d + 1}"] = places[:, d]
    if umap is not None:
        table["umap1"], table["umap2"] = umap.T
    write_table(path, pa.Table.from_pandas(table, preserve_index=False))


def draw(
    path: Path, xy: NDArray[np.float64], values: pd.Series[Any] | None, name: str, labels: tuple[str, str]
) -> None:
    """Scatter N×2 places into a PNG file, coloured by a column of numbers or of words.

    Of words the most frequent eleven have a colour each and the others one together.
    """
    import numpy as np
    import pandas as pd
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.8, 5.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    order = np.random.default_rng(0).permutation(len(xy))  # No class lies over another by its order.
    size = float(np.clip(16000 / max(len(xy), 1), 5, 30))
    options: dict[str, Any] = {"s": size, "alpha": 0.75, "linewidths": 0}
    if values is None:
        axes.scatter(xy[order, 0], xy[order, 1], color="#0072b2", **options)
    elif pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(float)
        there = np.isfinite(numbers)
        axes.scatter(xy[~there, 0], xy[~there, 1], color="#c8c8c8", **options)
        shown = order[there[order]]
        drawn = axes.scatter(xy[shown, 0], xy[shown, 1], c=numbers[shown], cmap="viridis", **options)
        figure.colorbar(drawn, label=name)
    else:
        words = values.astype(object).where(values.notna(), "none").astype(str).to_numpy()
        classes = list(pd.Series(words).value_counts().index)
        if len(classes) > _MOST_CLASSES:
            words = np.where(np.isin(words, classes[: _MOST_CLASSES - 1]), words, "others")
            classes = [*classes[: _MOST_CLASSES - 1], "others"]
        classes = sorted(classes, key=lambda c: (c == "others", c))
        palette = colormaps["tab10" if len(classes) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
        colours = np.array([palette[classes.index(word)] for word in words])
        axes.scatter(xy[order, 0], xy[order, 1], c=colours[order], **options)
        for i, word in enumerate(classes):
            axes.scatter([], [], color=palette[i], label=word.replace("$", r"\$"), s=24)
        axes.legend(title=name.replace("$", r"\$"), frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.grid(alpha=0.25)
    figure.savefig(path, format="png")


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """Nearest images of some queries.

    Attributes:
        rows: one a neighbour: query, rank, id, distance, and label and group where there are any.
        agreement: share of neighbours with their query's label, and what chance would give.
        path: the folder with neighbours.csv and nearest.png, if one was asked for.
    """

    rows: list[dict[str, Any]]
    agreement: dict[str, float]
    path: Path | None = None

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        folder = {"folder": str(self.path)} if self.path else {}
        return {**self.agreement, **folder, "neighbours": self.rows}


def find_nearest(
    data: Path, *, query: list[str], out: Path | None = None, array: str = "cae", n: int = 8,
    same_group: bool = False,
) -> Neighbours:  # fmt: skip
    """Find the images whose encodings are nearest to those of some images.

    Images of the query's own group are left out, since neighbours on the same slide are no discovery.

    Args:
        data: the Dataset.
        query: ids of images.
        out: a folder for neighbours.csv and nearest.png; must not exist.
        array: name of the array, from `plenish encode`.
        n: neighbours of each.
        same_group: also images of the query's own group.

    Returns:
        The neighbours, and how often they have their query's label.
    """
    if n < 1:
        raise InputError(f"-n must be at least 1, not {n}.")
    import numpy as np

    from plenish.datasets.dataset import Dataset
    from plenish.latent.projection import nearest

    dataset = Dataset.open(data)
    encodings = _encodings(dataset, array)
    ids = [str(i) for i in dataset.column("id")]
    place = {name: i for i, name in enumerate(ids)}
    for name in query:
        if name not in place:
            raise unknown(f"image of {data}", name, ids)
    queries = np.array([place[name] for name in query], np.int64)
    groups = [None if g != g else g for g in dataset.column("group")]
    rows, distances = nearest(encodings, queries, n, groups=None if same_group else groups)
    labels = dataset.column("label") if dataset.labels.kind == "categorical" else None
    found = [
        {
            "query": ids[q], "rank": rank + 1, "id": ids[row], "distance": float(distance),
            **({"label": labels[row]} if labels else {}), **({"group": groups[row]} if groups[row] else {}),
        }
        for q, line, far in zip(queries, rows, distances)
        for rank, (row, distance) in enumerate(zip(line, far))
        if row >= 0
    ]  # fmt: skip
    if not found:
        raise InputError("There is no image of another group; give --same-group.")
    agreement = _agreement(labels, queries, rows) if labels else {}
    if out is not None:
        config = {"nearest": array, "sha256": dataset.array_manifest(array)["sha256"], "query": query, "n": n}
        with files.atomic_dir(out, config | {"same_group": same_group}) as folder:
            import pandas as pd

            pd.DataFrame(found).to_csv(folder / "neighbours.csv", index=False)
            _picture(dataset, queries, rows).save(folder / "nearest.png")
    return Neighbours(found, agreement, out)


def _agreement(labels: list[Any], queries: NDArray[np.int64], rows: NDArray[np.int64]) -> dict[str, float]:
    import numpy as np

    names = np.array([str(label) for label in labels])
    there = rows >= 0
    same = (names[np.maximum(rows, 0)] == names[queries][:, None])[there]
    chance = np.mean([(names == names[q]).mean() for q in queries])
    return {"same_label": float(same.mean()), "same_label_by_chance": float(chance)}


def _picture(dataset: Dataset, queries: NDArray[np.int64], rows: NDArray[np.int64]) -> Any:
    """A row for each query: itself, a gap, its neighbours from the nearest on."""
    import numpy as np

    from plenish.training.logs import sample_grid

    size, channels = dataset.size, dataset.channels
    sheet = np.full((len(queries), rows.shape[1] + 2, size, size, channels), 255, np.uint8)
    sheet[:, 0] = dataset.pixels.read(queries)
    for i, line in enumerate(rows):
        there = line[line >= 0]
        if len(there):
            sheet[i, 2 : 2 + len(there)] = dataset.pixels.read(there)
    grid = sample_grid(sheet.reshape(-1, size, size, channels), rows.shape[1] + 2)
    factor = max(1, round(64 / size))
    return grid.resize((grid.width * factor, grid.height * factor), 0)
