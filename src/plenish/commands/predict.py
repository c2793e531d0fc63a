"""`plenish predict`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from plenish.errors import InputError
from plenish.invocation import command
from plenish.metrics.predict_config import PredictConfig
from plenish.metrics.result_files import Result


@dataclasses.dataclass(frozen=True)
class Predicted(Result):
    """What `plenish predict` found."""

    def summary(self) -> dict[str, object]:
        """The facts a person wants first; with labels, how good the predictions are."""
        content = self.content
        facts: dict[str, object] = {
            "images": content["images"], "predicted": content["predicted"],
            "table": str(self.path / content["table"]), "rejected": len(content["rejected"]),
        }  # fmt: skip
        if len(content["runs"]) > 1:
            facts["weights"] = [{"run": row["run"], "weight": row["weight"]} for row in content["runs"]]
        if "abstention" in content:
            facts["abstention"] = content["abstention"]
        if "measured" in content:
            facts |= {name: row["value"] for name, row in content["measured"]["metrics"].items()}
        return facts | ({"report": str(self.report)} if self.report else {})


@command("predict")
def predict(
    paths: list[Path], *, out: Path = Path("predictions"), how: PredictConfig = PredictConfig()
) -> Predicted:
    """Classify images by a trained classifier, or by several whose probabilities are mixed.

    Name the Runs first, then the images: image files, a folder or archive of images, or a Dataset. Images of
    another size are made to fit as the import made those of the training. Several Runs are weighed by how
    well they do on the val images. OUT gets a table with a row an image (probabilities, calibrated ones, the
    answer and its confidence) and predictions.json; where the images have labels, all metrics with intervals.

    Args:
        paths: Runs of classifiers, then images.
        out: folder to make.
        how: further options.

    Returns:
        The predictions.

    Raises:
        InputError: a Run holds no classifier, they do not fit each other or the images, or OUT exists.
    """
    runs = [path for path in paths if (path / "config.json").is_file()]
    images = [path for path in paths if path not in runs]
    if runs != paths[: len(runs)]:
        raise InputError(f"{runs[-1]} is a Run; name the Runs before the images.")
    from plenish.report.prediction_page import predict_with_page

    return Predicted(out, *predict_with_page(runs, images, out, how))
