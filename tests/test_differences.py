"""What differs between two configurations, told as the options that were typed."""

from __future__ import annotations

import pytest

from plenish.differences import differences, listed

TYPED = {"a.lr_g": "--lr", "a.lr_d": "--lr", "b.width": "--width"}
OLD = {"config": {"a": {"lr_g": 1, "lr_d": 1}, "b": {"width": 4, "other": None}}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"a": {"lr_g": 2, "lr_d": 2}}, ["--lr was 1 and is now 2"]),
        ({"a": {"lr_g": 2, "lr_d": 3}}, ["--lr is another"]),
        ({"a": {"lr_g": 1, "lr_d": 2}}, ["a.lr_d was 1 and is now 2"]),
        (
            {"b": {"width": 8, "other": 1}},
            ["b.other was not given and is now 1", "--width was 4 and is now 8"],
        ),
        ({"b": {"width": 4}}, []),
    ],
)
def test_an_option_is_named_where_all_it_sets_differs(changes: dict, told: list[str]) -> None:
    assert listed(differences(OLD, {"config": OLD["config"] | changes}), TYPED) == told


def test_a_radius_is_told_as_it_is_typed() -> None:
    old, new = {"hardening": {"eps": 4 / 255}}, {"hardening": {"eps": 0.1}}
    assert listed(differences(old, new), {"hardening.eps": "--eps"}) == ["--eps was 4/255 and is now 0.1"]


def test_another_recipe_is_told_alone_and_long_values_not_at_all() -> None:
    old = {"recipe": "auto", "a": 1, "auto": {"reasons": ["one", "two"]}}
    assert listed(differences(old, {"recipe": "dcgan", "a": 2}), {"recipe": "--recipe"}) == [
        "--recipe was 'auto' and is now 'dcgan', and 2 of its options"
    ]
    assert listed(differences(old, {"recipe": "auto", "a": 1, "auto": None}), {}) == ["auto is another"]
