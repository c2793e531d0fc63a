"""The section of images: generated ones first, labelled with the kimg they were made at."""

from __future__ import annotations

from pathlib import Path

from fabricate import make_data, make_run
from PIL import Image

from plenish.report.inputs import gather
from plenish.report.page import Pairs, Pictures
from plenish.report.samples import samples


def test_a_run_shows_what_it_generates_at_its_best_checkpoint_first_and_large(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_data(tmp_path / "data", ("a", "b")))
    Image.new("RGB", (64, 64)).save(run.path / "samples" / "reals.png")
    section = samples(gather(run=run.path))
    assert section is not None
    (block,) = section.blocks
    assert isinstance(block, Pictures)
    assert block.large
    first, second = block.pictures
    assert "37,500 images" in first.caption, "the picture nearest to the best checkpoint, at 40 kimg"
    assert "images shown" not in second.caption
    assert first.width >= 560


def test_images_are_labelled_with_the_kimg_of_their_checkpoint(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", ("a", "b"))
    run = make_run(tmp_path / "run", data)  # Trained on, to 50 kimg.
    extra = {"generator": {"run": str(run.path), "run_id": run.id, "checkpoint": "kimg-00012.500"}}
    made = make_data(tmp_path / "made", ("a", "b"), extra=extra)
    section = samples(gather(synthetic=made.path))
    assert section is not None
    assert isinstance(section.blocks[0], Pairs)
    assert "12,500 images" in section.blocks[0].others
