"""Sizes of the form base·2ᵏ, against a search through all of them."""

from plenish import sizes

ALL = {base << k for base in range(3, 8) for k in range(2, 9)}


def test_exactly_the_sizes_of_that_form_are_taken_apart():
    for size in range(-1, 1000):
        found = sizes.base_and_stages(size)
        assert (found is not None) == (size in ALL)
        if found is not None:
            base, stages = found
            assert size == base * 2**stages
            assert base in range(3, 8)
            assert stages >= 2


def test_the_nearest_are_the_two_at_the_least_distance():
    for size in range(1, 500):
        near = sizes.nearest(size)
        assert near[0] < near[1]
        assert set(near) <= ALL
        others = [abs(one - size) for one in ALL - set(near)]
        assert max(abs(one - size) for one in near) <= min(others)
