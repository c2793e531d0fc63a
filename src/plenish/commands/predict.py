"""`plenish predict`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from plenish.errors import InputError
from plenish.invocation import command
from plenish.metrics.caveats import describe
from plenish.metrics.predict_config import PredictConfig, SlideOptions
from plenish.metrics.result_files import Result
from plenish.slides.remarks import of_slides
from plenish.wording import Sentences


@dataclasses.dataclass(frozen=True)
class Predicted(Result):
    """What `plenish predict` found."""

    def summary(self) -> dict[str, object]:
        """The facts a person wants first; with labels, how good the predictions are."""
        content = self.content
        if "slides" in content:
            return self._of_slides()
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
        if "caveats" in content:
            facts["caveats"] = describe(content["caveats"])
        return facts | ({"report": str(self.report)} if self.report else {})

    def _of_slides(self) -> dict[str, object]:
        """Each slide's answer."""
        content, remarks = self.content, Sentences(of_slides(self.content["slides"]))
        kept = ("slide", "predicted", "confidence", "tiles", "abstained", "abstained_share")
        rows = [{key: one[key] for key in kept if key in one} | one["mean"] for one in content["slides"]]
        facts: dict[str, object] = {
            "slides": rows, "tiles": content["tiles"], "predicted": content["predicted"],
            "table": str(self.path / content["table"]), "heatmaps": str(self.path / "heatmaps"),
            "rejected": len(content["rejected"]),
        }  # fmt: skip
        facts |= {"remarks": remarks} if remarks else {}
        return facts | ({"report": str(self.report)} if self.report else {})


@command("predict")
def predict(
    paths: list[Path], *, out: Path = Path("predictions"), how: PredictConfig, slides: SlideOptions
) -> Predicted:  # fmt: skip
    """Classify images or slides by a trained classifier, or by several whose probabilities are mixed.

    Name the Runs first, then the images: image files, a folder or archive of images, or a Dataset. Images of
    another size are made to fit as the import made those of the training. Several Runs are weighed by how
    well they do on the val images. OUT gets a table with a row an image (probabilities, calibrated ones, the
    answer and its confidence) and predictions.json; where the images have labels, all metrics with intervals.

    Slides, or a folder or list of them, are cut into tiles like those of the training. OUT then gets a table
    with a row a slide, one of the tiles of each slide with their places, and a heatmap of each class.

    Args:
        paths: Runs of classifiers, then images or slides.
        out: folder to make.
        how: further options.
        slides: of slides: how tiles are cut.

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

    return Predicted(out, *predict_with_page(runs, images, out, how, slides))
