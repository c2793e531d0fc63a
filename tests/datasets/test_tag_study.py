"""Tags of a Dataset: frequencies, co-occurrence and the typical image, beside counts made by hand."""

import json
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from plenish.commands.profile import profile_dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.tag_study import study_tags, tag_columns
from plenish.datasets.writer import DatasetWriter


def dataset(out, lists, **columns):
    pixels = np.random.default_rng(0).integers(0, 256, (len(lists), 16, 16, 3), np.uint8)
    rows = [
        {"tags": tags, **{name: values[i] for name, values in columns.items()}}
        for i, tags in enumerate(lists)
    ]
    with DatasetWriter(out, name="<corpus>", size=16, channels=3, labels=LabelSchema(), config={}) as writer:
        writer.add(pixels, rows)
    return writer.dataset


@pytest.fixture(scope="module")
def lists():
    rng = np.random.default_rng(3)
    names = [f"t{i}" for i in range(150)] + ["猫", "<b>"]
    share = np.r_[0.9, 0.6, 0.5, np.full(147, 0.03), 0.3, 0.2]
    return [[name for name, p in zip(names, share) if rng.random() < p] for _ in range(300)]


def test_counts_are_those_of_a_plain_loop(tmp_path, lists):
    data = dataset(tmp_path / "d", lists, other=["x"] * len(lists))
    assert tag_columns(data) == ["tags"]
    rows = np.arange(20, 300)
    found = study_tags(data, "tags", rows)
    mine = [lists[i] for i in rows]
    counts = Counter(tag for tags in mine for tag in tags)
    assert found["distinct"] == len(counts)
    assert found["without"] == sum(not tags for tags in mine)
    assert found["an_image"]["mean"] == pytest.approx(np.mean(list(map(len, mine))))
    assert len(found["top"]) == 100
    assert {row["tag"]: row["images"] for row in found["top"]}.items() <= counts.items()
    assert [row["images"] for row in found["top"]] == sorted(counts.values(), reverse=True)[:100]
    pairs = Counter(pair for tags in mine for pair in combinations(sorted(tags), 2))
    top = [row["tag"] for row in found["top"]]
    for i, j in combinations(range(len(top)), 2):
        assert found["together"][i][j] == found["together"][j][i] == pairs[tuple(sorted((top[i], top[j])))]
    assert sum(row["tags"] for row in found["distribution"]) == len(counts)
    ones = sum(1 for n in counts.values() if n == 2)
    assert next((row["tags"] for row in found["distribution"] if row["from"] == 2), 0) == ones
    whole = Counter(tuple(sorted(tags)) for tags in mine if tags)
    assert found["sets"][0]["images"] == max(whole.values())
    left, steps = mine, []
    for row in found["typical"]:
        best = Counter(tag for tags in left for tag in tags if tag not in steps).most_common(1)[0]
        assert row["images"] == best[1]
        steps.append(row["tag"])
        left = [tags for tags in left if row["tag"] in tags]
        assert len(left) == row["images"]
    for pair in found["pairs"]:
        a, b = pair["tags"]
        assert pair["lift"] == pytest.approx(
            pairs[tuple(sorted((a, b)))] * len(mine) / (counts[a] * counts[b])
        )


@pytest.mark.parametrize("lists", [[[], []], [["a", "a"], ["a"]]])
def test_few_tags_and_repeated_ones(tmp_path, lists):
    found = study_tags(dataset(tmp_path / "d", [*lists, ["b"]]), "tags", np.arange(len(lists)))
    assert found["distinct"] == len({tag for tags in lists for tag in tags})
    assert found["top"] == ([{"tag": "a", "images": 2, "share": 1.0}] if lists[0] else [])


def test_the_page_shows_tags_sizes_bands_and_copies(tmp_path, lists):
    size = [30 + i for i in range(300)]
    data = dataset(tmp_path / "d", lists, width=size, height=[40] * 300)
    content = profile_dataset(data.path, tmp_path / "out").content
    assert content == json.loads((tmp_path / "out/profile.json").read_text())
    assert content["sizes"]["width"] == {"least": 30, "median": 179.5, "largest": 329}
    assert sum(content["sizes"]["widths"]) == sum(content["sizes"]["aspects"]) == 300
    assert sum(content["bands"]["images"].values()) == 300
    assert sum(content["colours"]["channels"][0]) == 300 * 256
    page = (tmp_path / "out/profile.html").read_text()
    for text in ("Tags: tags", "猫", "&lt;b&gt;", "Sizes of the files", "How variable is it?", "Bands"):
        assert text in page, text
    assert "<b>" not in page


def test_tags_of_nearly_all_images_are_not_together_beyond_chance(tmp_path):
    lists = [["all", "a", "b"] if i % 2 else ["all", "c"] for i in range(40)]
    found = study_tags(dataset(tmp_path / "d", lists), "tags", np.arange(len(lists)))
    assert [(set(pair["tags"]), pair["lift"]) for pair in found["pairs"]] == [({"a", "b"}, 2.0)]
