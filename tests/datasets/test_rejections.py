"""Every kind of rejection has words for the values it is raised with."""

from typing import get_args

import pytest

from plenish.datasets.rejections import Kind, Rejection, Unreadable, describe

EXAMPLE = {
    "reason": "checksum is wrong", "mib": 700.0, "limit": 512, "format": "PNG", "width": 70_000,
    "height": 60_000, "count": 3, "low": -1, "high": 70_000, "exit_status": -11, "sharpness": 0.0312,
    "share": 0.25, "column": "patient", "folder": "annotations",
}  # fmt: skip


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_can_be_described(kind):
    assert describe(Rejection("a.png", kind, EXAMPLE)).strip()


def test_the_values_are_in_the_words():
    text = describe(Rejection("a.png", "too-many-pixels", {"width": 70_000, "height": 60_000, "limit": 9999}))
    assert {"70000×60000", "9,999"} <= set(text.replace(";", "").split())


def test_an_error_becomes_a_record_about_its_source():
    error = Unreadable("pages", count=4)
    assert error.rejection("b.tif") == Rejection("b.tif", "pages", {"count": 4})
    assert str(error) == describe(error.rejection("b.tif"))
