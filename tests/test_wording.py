"""Numbers and their nouns agree."""

import dataclasses
from typing import ClassVar

from plenish.wording import Message, agree, in_levels, plural, signed, significant, times


def test_numbers_are_as_short_as_people_write_them():
    assert [significant(x) for x in (0.0123456, 4.5678, 12345.6, -1e-9, 0)] == [0.0123, 4.57, 12300, -1e-9, 0]
    assert [signed(x) for x in (0.5, -1.0, 0.0, -0.0, 0.256)] == ["+0.5", "−1", "0", "0", "+0.26"]
    assert (significant(0.0456, 1), significant(1.23456789, 6)) == (0.05, 1.23457)


def test_a_change_of_a_pixel_is_a_fraction_of_its_levels_where_that_is_how_it_was_meant():
    fractions = ["0.5/255", "1/255", "4/255", "8/255", "16/255", "64/255"]
    assert [in_levels(float(text[:-4]) / 255) for text in fractions] == fractions
    # Round numbers are said as they are, and so are others.
    assert [in_levels(x) for x in (0.0, 0.1, 0.05, 0.2, 0.5, 1.0, 1 / 3, 0.0157, 100 / 255)] == [None] * 9


def test_nouns_and_verbs_follow_the_number():
    assert [plural(n, "image") for n in (0, 1, 2, 1234)] == [
        "0 images",
        "1 image",
        "2 images",
        "1,234 images",
    ]
    assert plural(2, "class") == "2 classes"
    assert [agree(n, "image", "was", "were") for n in (1, 2)] == ["1 image was", "2 images were"]
    assert [times(n) for n in (0, 1, 2, 3, 1000)] == ["never", "once", "twice", "3 times", "1,000 times"]


def test_a_message_is_made_of_its_values():
    class Told(Message):
        words: ClassVar = {
            "lost": "{tiles:tile/was/were} lost of {total:,}: {names}.",
            "noun": "{n:{noun}/is/are}",
        }

    names = [f"s{i}" for i in range(7)]
    told = Told("lost", {"tiles": 1, "total": 2000, "names": names})
    assert str(told) == "1 tile was lost of 2,000: s0, s1, s2, s3, s4 and 2 more."
    assert str(Told("noun", {"n": 2, "noun": "group"})) == "2 groups are"
    assert told == Told(**dataclasses.asdict(told))
