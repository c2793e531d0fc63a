"""Numbers and their nouns agree."""

from plenish.wording import agree, plural, times


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
