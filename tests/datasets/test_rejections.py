"""Every kind of rejection has words for the values it is raised with."""

import pytest

from plenish.datasets.rejections import Rejection, Unreadable

EXAMPLE = {
    "reason": "checksum is wrong", "mib": 700.0, "limit": 512, "format": "PNG", "width": 70_000,
    "height": 60_000, "count": 3, "low": -1, "high": 70_000, "exit_status": -11, "sharpness": 0.0312,
    "share": 0.25, "column": "patient", "folder": "annotations", "command": "pip install x", "kind": "SR",
    "syntax": "JPEG-LS", "packages": "x", "detector": "anime-face", "name": "1.png",
    "ratio": 1000,
}  # fmt: skip


@pytest.mark.parametrize("code", Rejection.words)
def test_every_kind_can_be_described(code):
    assert str(Rejection(code, EXAMPLE, "a.png")).strip()


def test_the_values_are_in_the_words():
    text = str(Rejection("too-many-pixels", {"width": 70_000, "height": 60_000, "limit": 9999}, "a.png"))
    assert {"70,000×60,000", "9,999"} <= {word.strip(";,") for word in text.split()}


def test_an_error_becomes_a_record_about_its_source():
    error = Unreadable("pages", count=4)
    assert error.rejection("b.tif") == Rejection("pages", {"count": 4}, "b.tif")
    assert str(error) == str(error.rejection("b.tif"))
