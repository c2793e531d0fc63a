"""Unknown names are told with what is most like them."""

from __future__ import annotations

from plenish.errors import unknown_id


def test_an_unknown_id_is_told_with_few_that_are_like_it():
    ids = [f"{i:07d}" for i in range(50_000)]
    said = str(unknown_id("00123456", ids, "tiles"))
    assert said.startswith("tiles has no image '00123456'; the nearest are ")
    named = said.partition("nearest are ")[2].rstrip(".").split(", ")
    assert 1 < len(named) <= 3
    assert set(named) <= {"00123456"[:k] + "00123456"[k + 1 :] for k in range(8)}  # One digit less.
    assert str(unknown_id("p1-t4", ["p1-t04", "else"], "tiles")).endswith("did you mean 'p1-t04'?")
    assert str(unknown_id("zzz", ids, "tiles")).endswith("its ids are 0000000 to 0049999.")
