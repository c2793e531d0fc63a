"""The page and the SARIF log of an attack, from a made-up result."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import fabricate_attack
import numpy as np
import pytest
from fabricate_attack import CLASSES, GRID, content

from plenish.report.attack_page import write_attack_page
from plenish.report.attack_words import FLAGS, Gate, finding, flag_words, held
from plenish.report.sarif import ACCURACY, sarif, write_sarif
from plenish.robustness.radius import format_eps


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attack")
    fabricate_attack.write(folder)
    return folder


def page_of(folder: Path, kept: dict[str, Any], **asked: Any) -> str:
    return write_attack_page(folder, kept, Gate.of(kept, **asked)).read_text(encoding="utf-8")


def test_the_page_is_complete_in_itself_and_escapes_names(folder: Path) -> None:
    page = page_of(folder, content())
    outside = [a for a in re.findall(r'(?:src|href)="([^"]*)"', page) if not a.startswith(("data:", "#"))]
    assert outside == []
    assert html.escape(CLASSES[1]) in page
    assert CLASSES[1] not in page


def test_it_shows_every_attack_class_flag_and_corruption(folder: Path) -> None:
    kept = content()
    page = page_of(folder, kept)
    words = [attack["name"] for attack in kept["attacks"]]
    words += [html.escape(name) for name in CLASSES] + [
        row["name"].replace("-", " ") for row in kept["corruptions"]
    ]
    words += [flag_words(flag["name"]).title for flag in kept["flags"]]
    words += [kept["command"]["repeat"], "8 of 100", "4/255"]
    assert [word for word in words if word not in page] == []
    # Curves over eps, steps of PGD twice, classes and corruptions; a picture for each image of the gallery.
    assert page.count("<svg") == 5
    assert page.count("data:image/webp") == 3


def test_it_never_calls_a_classifier_secure(folder: Path) -> None:
    best = content(flags=[{"name": "softmax", "status": "passed", "values": {}}])
    for row in best["worst_case"]:
        row["accuracy"] = [1.0, 1.0, 1.0]
    page = re.sub(r"<[^>]+>", " ", page_of(folder, best))
    assert re.search(r"\b(secure|unbreakable|guaranteed|robust classifier)\b", page, re.IGNORECASE) is None
    assert re.search(r"no attack tried succeeded on 100\s+of\s+100", page)


@pytest.mark.parametrize(
    "left_out",
    [{"corruptions": []}, {"convergence": None}, {"flags": []}, {"command": None}, {"attacks": []}],
    ids=lambda left: next(iter(left)),
)
def test_parts_may_be_missing(folder: Path, left_out: dict[str, Any]) -> None:
    assert "</html>" in page_of(folder, content(**left_out))


def test_the_gallery_may_be_missing_and_intervals_too(tmp_path: Path) -> None:
    kept = content()
    for row in kept["worst_case"]:
        row["accuracy"][1:] = row["balanced_accuracy"][1:] = [None, None]
    page = page_of(tmp_path, kept)
    assert "data:image" not in page


def test_the_difference_is_shown_around_grey(tmp_path: Path) -> None:
    """A change by eps is black or white, no change is grey."""
    from plenish.report import attack_figures

    kept = fabricate_attack.write(tmp_path, shown=1)
    with np.load(tmp_path / "gallery.npz") as held:
        change = held["adversarial"][0] - held["originals"][0] / 255
    seen: list[np.ndarray] = []
    keep = attack_figures.sheet

    def caught(images: np.ndarray, alt: str, **how: Any) -> Any:
        seen.append(images)
        return keep(images, alt, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attack_figures, "sheet", caught)
        (picture,) = attack_figures.gallery(tmp_path, kept)
    assert picture.caption.startswith(f"{CLASSES[0]} → {CLASSES[1]}")
    shown = seen[0][2].astype(float)
    assert np.abs(shown - 255 * np.clip(0.5 + change * 255 / 2, 0, 1)).max() <= 1
    assert {0, 255} <= set(np.unique(shown).astype(int))


def test_tables_by_eps_have_narrow_cells(folder: Path) -> None:
    """Seven radii fit beside each other: no line of a cell is longer than an interval."""
    page = page_of(folder, content())
    for caption in ("Recall, %, by eps", "Right answers, %, by eps"):
        table = page.split(f'aria-label="{caption}')[1].split("</table>")[0]
        cells = re.findall(r"<td(?: class=\"word\")?>([^<]*)</td>", table)
        assert cells
        assert max(len(line) for cell in cells for line in cell.split("\n")) <= len("all right ones")


def test_distances() -> None:
    of = {0: "0", 0.5 / 255: "0.5/255", 4 / 255: "4/255", 0.3: "0.3", 1: "1"}
    assert [format_eps(eps, "linf") for eps in of] == list(of.values())
    assert format_eps(0.5, "l2") == "0.5"


def test_every_flag_has_words_that_say_what_to_do() -> None:
    for words in FLAGS.values():
        assert words.title
        assert words.meaning.endswith(".")
        assert words.advice.endswith(".")
    assert flag_words("never-heard-of").title == "Never heard of"
    assert "ever heard of" in finding({"name": "never-heard-of", "values": {}})


@pytest.mark.parametrize(
    ("name", "values", "number"),
    [
        ("iterative-beats-single-step", {"single_step": [9, 3], "iterative": [9, 6]}, "3 more"),
        ("white-box-beats-black-box", {"only_black_box": [0, 4, 1]}, "4 images"),
        ("noise-is-harmless", {"noise": [9, 8, 2]}, "7 of 9"),
        ("reaches-chance", {"largest_change": 0.75, "chance": 0.5}, "75.0"),
        ("monotone", {"iterative": [9, 2, 7]}, "5 more"),
        ("converged", {"halfway": 0.5, "end": 0.25, "steps": 100}, "25.0"),
        ("finite-logits", {"images": [0, 1]}, "1 image"),
        ("gradients", {"zero": 0.5, "undefined": 0.0}, "50.0"),
        ("gradients", {"path": False}, "none reaches"),
        ("deterministic", {"repeated": 0.0, "alone": 0.25}, "0.25"),
        ("softmax", {"probabilities": False, "certain": 0.75, "vanished": None}, "75.0"),
        ("softmax", {"probabilities": True}, "probabilities"),
        ("differentiable", {"zero_though_output_changes": 0.5}, "50.0"),
        ("differentiable", {"path": False}, "no gradient"),
        ("finite-differences", {"disagreement": 0.9}, "90"),
    ],
)
def test_a_failed_check_is_a_finding_with_its_number(name: str, values: dict[str, Any], number: str) -> None:
    said = finding({"name": name, "values": values})
    assert said.startswith(FLAGS[name].failed + ": ")
    assert number in said.partition(": ")[2]
    assert finding({"name": name, "values": {}}) == FLAGS[name].failed


def test_a_gate_is_at_the_largest_eps_unless_said_otherwise() -> None:
    kept = content()
    assert Gate.of(kept) == Gate(16 / 255, None, 0.0)
    assert not Gate.of(kept).failed
    assert Gate.of(kept, 0.08, 4 / 255) == Gate(4 / 255, 0.08, 0.08)
    assert not Gate.of(kept, 0.08, 4 / 255).failed
    assert Gate.of(kept, 0.081, 4 / 255).failed


def check_log(log: dict[str, Any]) -> None:
    """What SARIF 2.1.0 requires of the objects used here (sections 3.13, 3.14, 3.18, 3.19, 3.27, 3.49)."""
    assert log["version"] == "2.1.0"
    assert log.keys() <= {"$schema", "version", "runs", "properties"}
    for run in log["runs"]:
        driver = run["tool"]["driver"]
        assert driver["name"]
        ids = [rule["id"] for rule in driver["rules"]]
        assert len(ids) == len(set(ids))
        for rule in driver["rules"]:
            assert all(rule[part]["text"] for part in ("shortDescription", "fullDescription", "help"))
            assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
        assert all(isinstance(each["executionSuccessful"], bool) for each in run["invocations"])
        for result in run["results"]:
            assert result["message"]["text"]
            assert result["level"] in ("none", "note", "warning", "error")
            assert ids[result["ruleIndex"]] == result["ruleId"]
            for location in result["locations"]:
                uri = location["physicalLocation"]["artifactLocation"]["uri"]
                assert not uri.startswith(("/", "..", "file:"))
                assert re.fullmatch(r"[\w.~%/-]+", uri)


def test_a_result_for_each_failed_flag_and_each_accuracy_below(tmp_path: Path) -> None:
    kept = content()
    log = json.loads(write_sarif(tmp_path, kept, Gate.of(kept, 0.3)).read_text(encoding="utf-8"))
    check_log(log)
    results = log["runs"][0]["results"]
    assert [(r["ruleId"], r["properties"].get("eps")) for r in results] == [
        (ACCURACY, GRID[2]), (ACCURACY, GRID[3]), ("noise-is-harmless", None)
    ]  # fmt: skip
    assert {rule["id"] for rule in log["runs"][0]["tool"]["driver"]["rules"]} == {
        ACCURACY, *(flag["name"] for flag in kept["flags"])
    }  # fmt: skip


@pytest.mark.parametrize(
    ("least", "at", "found"), [(None, None, 0), (0.3, 1 / 255, 0), (0.3, 4 / 255, 1), (0, None, 0)]
)
def test_only_what_is_asked_for(tmp_path: Path, least: float | None, at: float | None, found: int) -> None:
    kept = content(flags=[])
    log = sarif(kept, Gate.of(kept, least, at), tmp_path)
    check_log(log)
    assert len(log["runs"][0]["results"]) == found


def test_places_are_files_below_the_folder_of_the_command(tmp_path: Path) -> None:
    for path in ("work/my cnn/config.json", "work/tiles/dataset.json", "else/model.onnx"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    kept = content()
    places = {
        "my cnn": "my%20cnn/config.json", str(tmp_path / "work" / "tiles"): "tiles/dataset.json",
        str(tmp_path / "else" / "model.onnx"): "model.onnx",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "work")
        for path, expected in places.items():
            kept["classifier"]["path"] = path
            log = sarif(kept, Gate.of(kept, 0.5), Path.cwd())
            check_log(log)
            first = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
            assert first["uri"] == expected


def test_nothing_left_is_said_without_two_negations() -> None:
    content = {"data": {"images": 30}, "threat": {"norm": "linf"}}
    assert "none of 30" in held(content, {"eps": 16 / 255, "accuracy": [0.0, 0.0, 0.11]})
    assert "on 3 of 30" in held(content, {"eps": 16 / 255, "accuracy": [0.1, 0.0, 0.3]})
