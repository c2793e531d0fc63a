"""Every remark that the code makes has words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import plenish
from plenish.slides.remarks import Remark

HOME = Path(plenish.__file__).parent


def codes() -> list[str]:
    """The codes of remarks in the source."""
    files = [*(HOME / "slides").glob("*.py"), HOME / "metrics" / "tile_scores.py"]
    return sorted({code for file in files for code in re.findall(r'Remark\("([a-z-]+)"', file.read_text())})


@pytest.mark.parametrize("code", codes())
def test_a_code_has_words(code: str) -> None:
    missing = ""
    try:
        str(Remark(code))
    except KeyError as error:  # Of a value, because there are none.
        missing = error.args[0]
    assert missing != code


def test_counts_agree_with_their_verbs_and_lists_are_cut_short() -> None:
    one, many = (Remark("slides-without-row", {"names": list(names)}) for names in ("a", "abcdefg"))
    assert str(one).startswith("1 slide has")
    assert str(many).startswith("7 slides have")
    assert str(many).endswith("a, b, c, d, e and 2 more.")
    assert str(Remark("tiles-blurred", {"count": 3}, "s1")).startswith("s1: 3 tiles were")
