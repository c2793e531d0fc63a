from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fabricate import Work, make_data, make_run, make_work

from plenish import cli, files
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.report.build import write_own_report, write_report
from plenish.report.page import plain
from plenish.runs import Run

NASTY = ("<script>alert(1)</script>", 'x" onerror="alert(2)', "a$\\frac{1$b & <b>")
VOID = {"meta", "img", "link", "br", "hr", "input", "use", "path", "rect"}


class Page(HTMLParser):
    """What the tests ask of a page: tags with attributes, the visible text, whether tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open, self.unbalanced = "", list[str](), list[str]()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data if not self.open or self.open[-1] != "style" else ""

    @property
    def sections(self) -> set[str | None]:
        """Keys of the sections."""
        return {attributes["id"] for attributes in self.all("section")}

    @property
    def is_phantom(self) -> bool:
        """Whether a banner says that the images are phantoms."""
        return any(attributes.get("class") == "banner" for attributes in self.all("aside"))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


@pytest.mark.usefixtures("words_of_charts")
def test_whole_report_from_score_and_study_alone(work: Work, tmp_path: Path) -> None:
    report = write_report(tmp_path / "r.html", score=work.score, study=work.study)
    page = read(report.path)
    assert page.sections == {
        "asked", "samples", "study", "scores", "copies", "told-apart", "labels", "limits", "data", "training",
        "repeat", "provenance", "environment",
    }  # fmt: skip
    assert len(report.sections) == 13
    assert [card["class"] for card in page.all("div") if "card " in str(card.get("class"))] == [
        "card neutral", "card neutral", "card bad", "card good", "card good", "card neutral",
    ]  # fmt: skip
    assert len(report.verdict) == 6
    for wanted in (
        *report.verdict.values(), "FD(domain)", work.data.manifest.pixels_hash, "kimg-00040.000",
        "plenish study", "diagnosis", "2.15.0",
    ):  # fmt: skip
        assert wanted in page.text
    assert report.path.stat().st_size < 5e6
    assert not page.unbalanced
    assert not page.open


@pytest.fixture(scope="module")
def whole(work: Work, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "r.html"
    return write_report(out, score=work.score, study=work.study).path


def test_it_is_self_contained(whole: Path) -> None:
    page = read(whole)
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("iframe")
    addresses = [
        value for _, attributes in page.tags for key, value in attributes.items()
        if key in ("src", "href", "xlink:href", "srcset", "data", "action") and value
    ]  # fmt: skip
    assert addresses
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    html = whole.read_text(encoding="utf-8")
    assert "@import" not in html
    assert "url(http" not in html


def test_pictures_can_be_read_aloud_and_links_lead_somewhere(whole: Path) -> None:
    page = read(whole)
    assert len(page.all("img")) >= 4
    assert all(image.get("alt") for image in page.all("img"))
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in page.all("svg"))
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids)), "two elements of the page share an id"
    links = {a["href"] for a in page.all("a")} | {u["xlink:href"] for u in page.all("use")}
    assert {link.removeprefix("#") for link in links if link} <= set(ids)


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return make_work(tmp_path_factory.mktemp("nasty") / "<i>odd & $x_1$", NASTY, phantom=True)


def test_everything_from_outside_is_escaped(nasty: Work, tmp_path: Path) -> None:
    title = "<script>alert(3)</script>"
    report = write_report(tmp_path / "r.html", score=nasty.score, study=nasty.study, title=title)
    page = read(report.path)
    assert not page.all("script")
    assert not page.all("b") or all("aria-hidden" in b for b in page.all("b"))
    assert not page.all("i")
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert not page.unbalanced
    for label in NASTY:
        assert label in page.text, "a label must be shown as it is, `$` and all"
    assert title in page.text


@pytest.mark.usefixtures("words_of_charts")
def test_phantoms_are_called_phantoms(nasty: Work, work: Work, tmp_path: Path) -> None:
    assert read(write_report(tmp_path / "a.html", data=nasty.data.path).path).is_phantom
    assert not read(write_report(tmp_path / "b.html", data=work.data.path).path).is_phantom
    content = files.read_record(work.score / "score.json")
    content["real"] |= {"phantom": True, "path": "gone"}
    (tmp_path / "score").mkdir()
    files.write_record(tmp_path / "score" / "score.json", content)
    assert read(write_report(tmp_path / "c.html", score=tmp_path / "score").path).is_phantom


@pytest.mark.usefixtures("words_of_charts")
@pytest.mark.parametrize(
    ("part", "section", "absent"),
    [
        ("data", "data", "training"),
        ("run", "training", "scores"),
        ("synthetic", "samples", "scores"),
        ("score", "scores", "study"),
        ("study", "study", "copies"),
    ],
)
def test_any_part_alone_makes_a_report(
    work: Work, tmp_path: Path, part: str, section: str, absent: str
) -> None:
    place = getattr(work, part)
    report = write_report(tmp_path / "r.html", **{part: place if isinstance(place, Path) else place.path})
    shown = read(report.path).sections
    assert section in shown
    assert absent not in shown


@pytest.mark.usefixtures("words_of_charts")
def test_a_score_outlives_its_datasets(work: Work, tmp_path: Path) -> None:
    content = files.read_record(work.score / "score.json")
    content["real"]["path"] = content["synthetic"]["path"] = str(tmp_path / "gone")
    content["synthetic"]["generator"] = None
    files.write_record(tmp_path / "score.json", content)
    page = read(write_own_report(tmp_path, "score"))
    assert {"scores", "data"} <= page.sections
    assert str(content["real"]["n_test"]) in page.text


@pytest.mark.usefixtures("words_of_charts")
def test_what_could_not_be_measured_is_left_out(work: Work, tmp_path: Path) -> None:
    score = files.read_record(work.score / "score.json")
    for row in score["scores"]:
        row |= {"value": None, "low": None, "high": None, "real_baseline": None, "n_baseline": 0}
    for scores, wanted in ((score["scores"], True), ([], False)):
        files.write_record(tmp_path / "score.json", score | {"scores": scores})
        sections = read(write_own_report(tmp_path, "score")).sections
        assert ("scores" in sections) == wanted
        assert "copies" in sections
    study = files.read_record(work.study / "study.json") | {"caveats": []}
    for row in [*study["summary"], *study["differences"], *study["comparisons"]]:
        row |= {"low": None, "high": None, "p": None, "p_holm": None, "n_seeds": 1}
    for row in study["verdicts"]:
        row["verdict"] = "no evidence"
    alone = {"differences": [], "comparisons": [], "verdicts": [], "verdict": None}
    for more in ({}, alone):
        files.write_record(tmp_path / "study.json", study | more)
        assert "interval" not in read(write_own_report(tmp_path, "study")).text.replace("no interval", "")


@pytest.mark.usefixtures("words_of_charts")
def test_each_verb_writes_its_report_into_its_own_folder_again_and_again(work: Work, tmp_path: Path) -> None:
    for kind in ("score", "study", "run"):
        folder = tmp_path / kind
        shutil.copytree(getattr(work, kind), folder)
        for _ in range(2):
            assert write_own_report(folder, kind) == folder / "report.html"  # type: ignore[arg-type]
        assert not list(folder.glob("*.partial"))


def test_unlabelled_data(tmp_path: Path) -> None:
    data = make_data(tmp_path / "plain", ())
    page = read(write_report(tmp_path / "r.html", data=data.path).path)
    assert "without labels" in page.text
    assert len(page.all("img")) == 1


def test_a_folder_becomes_whole_or_is_not_there(work: Work, tmp_path: Path) -> None:
    report = write_report(tmp_path / "out", data=work.data.path)
    assert report.path == tmp_path / "out" / "report.html"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert report.summary()["bytes"] > 0


@pytest.mark.parametrize("name", ["r.html", "folder"])
def test_nothing_is_overwritten(work: Work, tmp_path: Path, name: str) -> None:
    write_report(tmp_path / name, data=work.data.path)
    with pytest.raises(InputError, match="already exists"):
        write_report(tmp_path / name, data=work.data.path)


def test_a_name_of_another_format_is_refused(work: Work, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"report\.txt is no HTML file"):
        write_report(tmp_path / "report.txt", data=work.data.path)
    assert not (tmp_path / "report.txt").exists()


def test_an_unfinished_study_says_so(tmp_path: Path) -> None:
    Run.create(tmp_path / "study", "study", {}).update_status(state="interrupted")
    with pytest.raises(InputError, match=r"unfinished .interrupted.*study.* resumes"):
        write_report(tmp_path / "report.html", study=tmp_path / "study")


def test_bad_input_is_one_sentence_and_leaves_nothing(work: Work, tmp_path: Path) -> None:
    (tmp_path / "wrong.json").write_text('{"schema": 4, "kind": "study"}')
    (tmp_path / "old.json").write_text('{"schema": 1, "kind": "score"}')
    (tmp_path / "new.json").write_text('{"schema": 99, "kind": "score"}')
    (tmp_path / "broken.json").write_text('{"schema": 1,')
    other = make_data(tmp_path / "other", ("a", "b"), seed=9)
    before = sorted(tmp_path.iterdir())
    cases = [
        ({}, "--data, --run"),
        ({"score": tmp_path}, " score.json"),
        ({"score": tmp_path / "wrong.json"}, "wrong.json .*'plenish score'"),
        ({"score": tmp_path / "old.json"}, "old.json .* 1 .* 4"),
        ({"score": tmp_path / "new.json"}, "new.json .* 99 .* 4"),
        ({"score": tmp_path / "broken.json"}, "broken.json .* JSON"),
        ({"run": tmp_path}, f"{tmp_path} .* Run"),
        ({"data": other.path, "score": work.score}, "The Dataset and the Run"),
    ]
    for given, words in cases:
        for out in ("x.html", "x"):
            with pytest.raises(InputError, match=words) as caught:
                write_report(tmp_path / out, **given)  # type: ignore[arg-type]
            assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_samples_leave_the_test_part_alone(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only rows of train are ever fetched from the real Dataset."""
    from plenish.datasets import pixels

    fetched: set[int] = set()
    original = pixels.RawShards.read

    def spy(self: pixels.RawShards, rows):  # type: ignore[no-untyped-def]
        fetched.update(map(int, rows))
        return original(self, rows)

    monkeypatch.setattr(pixels.RawShards, "read", spy)
    reads = work.data.test_reads()
    write_report(tmp_path / "r.html", data=work.data.path)
    assert work.data.test_reads() == reads
    train = set(map(int, work.data.split().rows("train")))
    assert fetched
    assert fetched <= train


def test_the_report_is_the_same_twice(whole: Path, work: Work, tmp_path: Path) -> None:
    again = write_report(tmp_path / "r.html", score=work.score, study=work.study).path
    pages = [path.read_text(encoding="utf-8").splitlines() for path in (whole, again)]
    first, second = ([line for line in page if "Made " not in line] for page in pages)
    assert first == second


def test_settings_of_matplotlib_neither_enter_nor_leave(work: Work, tmp_path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"text.usetex": True, "svg.fonttype": "path", "font.size": 31.0}):
        before = dict(matplotlib.rcParams)
        write_report(tmp_path / "a.html", score=work.score)
        assert dict(matplotlib.rcParams) == before
    write_report(tmp_path / "b.html", score=work.score)
    charts = [Page((tmp_path / name).read_text(encoding="utf-8")).all("svg") for name in ("a.html", "b.html")]
    assert charts[0] == charts[1]


def test_a_run_of_a_classifier_has_pages_of_its_own(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", "classifier", {"recipe": "small", "schedule": "cosine"}, data={})
    with pytest.raises(InputError, match="--test"):
        write_report(tmp_path / "r.html", run=run.path)
    assert not (tmp_path / "r.html").exists()


@pytest.mark.usefixtures("words_of_charts")
def test_a_prolonged_run_is_told_by_its_last_schedule(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_data(tmp_path / "data", ("a", "b")))
    run.update_status(kimg=50.0, schedule={"kimg": 80.0})
    text = read(write_report(tmp_path / "r.html", run=run.path).path).text
    assert re.search(r"\b50 thousand .* 80 thousand", text)


@pytest.mark.usefixtures("words_of_charts")
def test_a_diverged_run_is_reported_with_its_state_and_message(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_data(tmp_path / "data", ("a", "b")), lines=3, pictures=0)
    message = "loss_d was not finite at 2.1 kimg"
    run.update_status(state="diverged", kimg=2.1, message=message, best={})
    assert cli.run(["report", str(tmp_path / "r.html"), "--run", str(run.path), "--quiet"]) == 0
    text = read(tmp_path / "r.html").text
    assert message in text
    assert "diverged" in text
    assert re.search(r"\b2\.1 thousand .* 50 thousand", text)


def test_sentences_among_settings_are_not_joined_by_commas() -> None:
    assert plain(["Few groups.", "No val."]) == "Few groups. · No val."
    assert plain([8, 16]) == "8, 16"


def test_a_dataset_without_split_or_source_is_described(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "d", name="bare", size=8, channels=3, labels=LabelSchema(), config={}) as w:
        w.add(np.zeros((3, 8, 8, 3), np.uint8), [{}] * 3)
    page = read(write_report(tmp_path / "r.html", data=w.dataset.path).path)
    assert "data" in page.sections
    assert "bare: 3 images of 8×8 pixels" in page.text
