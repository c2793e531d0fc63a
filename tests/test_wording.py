"""Numbers and their nouns agree."""

import dataclasses
from typing import ClassVar

from plenish.wording import Message, agree, plural, times


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
