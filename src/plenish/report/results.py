"""Sections on the results: the scores, the study and the copies audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plenish.report import figures, pictures, words
from plenish.report.blocks import Block, Charts, Facts, Notes, Pictures, Section, Table, Text
from plenish.report.figures import Chart, number
from plenish.report.inputs import Material
from plenish.report.sections import plain
from plenish.wording import plural

UNIT_SCORES = ("precision", "recall", "density", "coverage")
EXTRACTOR_FACTS = {
    "version": "version", "task": "task", "dim": "dimensions", "resizer": "resizer", "fitted_on": "fitted on",
}  # fmt: skip
BETTER = {"lower": "lower is better", "higher": "higher is better"}
ROLE = {"helps": "helps", "hurts": "hurts"}


def percent(level: Any) -> str:
    """`95 %`."""
    return f"{100 * float(level or 0.95):g} %"


def scope_name(scope: str) -> str:
    """`overall` or the class's own name."""
    return scope.removeprefix("class:")


# Scores


def scores(material: Material) -> Section | None:
    """One forest plot a score, with the real-against-real baseline, and the numbers."""
    score = material.score
    rows = list((score or {}).get("scores") or [])
    if score is None or not rows:
        return None
    names = list(dict.fromkeys(str(row["name"]) for row in rows))
    charts = [_score_chart(name, [row for row in rows if str(row["name"]) == name]) for name in names]
    kind = material.others
    has = words.has_intervals(rows)
    legend = (("●", f"{kind}, with interval" if has else kind), ("◇", "real against real"))
    blocks: list[Block] = [Charts(charts, legend=legend), _score_table(rows, kind), _extractor(score)]
    lead = "" if kind == "synthetic" else "A baseline: real images compared with real ones. "
    lead += (
        f"How far the {kind} images are from the real test images"
        + (f", with {percent(score.get('level'))} intervals" if has else "")
        + ". The diamond is what real images get against other real ones, the best that can be expected."
    )
    if any(row.get("comparable") for row in rows):
        lead += (
            f" There are more {kind} than real training images, so the charts and the headline take both "
            "at the same number; the table has the values of all of them, too."
        )
    return Section("scores", "Fidelity and variety", blocks, lead=lead)


def _score_chart(name: str, rows: Sequence[Mapping[str, Any]]) -> Chart:
    rows = [words.comparable(row) for row in rows]
    entries = [
        {
            "label": scope_name(str(row.get("scope"))), "value": row.get("value"), "low": row.get("low"),
            "high": row.get("high"), "baseline": row.get("real_baseline"),
        }
        for row in rows[:12]
    ]  # fmt: skip
    tops = [float(row.get(key) or 0) for row in rows for key in ("value", "high", "real_baseline")]
    limits = (-0.02, 1.02) if name in UNIT_SCORES and max(tops, default=0) <= 1 else None
    return figures.intervals(name, entries, limits=limits, x_label=BETTER.get(str(rows[0].get("better")), ""))


def _score_table(rows: Sequence[Mapping[str, Any]], kind: str) -> Table:
    rows = [
        shown for row in rows for shown in ((row, words.comparable(row)) if row.get("comparable") else (row,))
    ]
    head = ["score", "of", "value", "interval", "real against real", "n real", f"n {kind}"]
    body = [
        [
            str(row.get("name")), scope_name(str(row.get("scope"))), number(row.get("value")),
            _interval(row), number(_baseline(row)), plain_count(row.get("n_real")),
            plain_count(row.get("n_synthetic")),
        ]
        for row in rows
    ]  # fmt: skip
    return Table(head, body, caption="All scores as a table", words=frozenset({1}), folded=True)


def _baseline(row: Mapping[str, Any]) -> float | None:
    """The baseline, where it was taken at the number of images of the row itself."""
    n, taken = row.get("n_synthetic"), row.get("n_baseline")
    return None if None not in (n, taken) and n != taken else row.get("real_baseline")


def plain_count(value: Any) -> str:
    """`2,000`, or a dash."""
    return "–" if value is None else f"{int(value):,}"


def _interval(row: Mapping[str, Any]) -> str:
    low, high = row.get("low"), row.get("high")
    return "–" if low is None or high is None else f"{number(low)} to {number(high)}"


def _extractor(score: Mapping[str, Any]) -> Text:
    extractor = score.get("extractor") or {}
    text = f"Features: {plain(extractor.get('name'))}"
    details = [
        f"{label} {plain(extractor[key])}"
        for key, label in EXTRACTOR_FACTS.items()
        if extractor.get(key) not in (None, "")
    ]  # fmt: skip
    text += f" ({', '.join(details)})" if details else ""
    return Text([text + ". Only Inception features of the reference network are called FID."])


# Study


def study(material: Material) -> Section | None:
    """Per-seed points with mean and interval per arm, paired differences from `real`, and the verdicts."""
    result = material.study
    if not result or not result.get("summary"):
        return None
    metrics = words.by_order([str(row["metric"]) for row in result["summary"]], words.METRIC_ORDER)
    arms = [str(arm) for arm in result.get("arms") or dict.fromkeys(row["arm"] for row in result["summary"])]
    level = percent(result.get("level"))
    test = result.get("test") or {}
    lead = f"Tested on {plural(int(test['n']), 'real image')}" if test.get("n") else "Tested on real images"
    lead += f" from {plural(int(test['groups']), 'group')}" if test.get("groups") else ""
    has = words.has_intervals(result["summary"])
    blocks: list[Block] = [
        Charts(
            [_arm_chart(metric, arms, result) for metric in metrics],
            legend=(("●", f"mean with {level} interval" if has else "mean"), ("∘", "single seeds")),
        )
    ]
    differences = [chart for metric in metrics if (chart := _difference_chart(metric, arms, result))]
    if differences:
        blocks.append(
            Text(
                [
                    "Differences from training on real images alone, paired by seed"
                    + (f", with {level} intervals:" if has else ":")
                ]
            )
        )
        judged = {str(v.get("metric")) for v in result.get("verdicts") or []}
        circle = "no evidence" if judged >= set(metrics) else "no evidence, or a metric without a verdict"
        blocks.append(Charts(differences, legend=(("▲", "helps"), ("▼", "hurts"), ("●", circle))))
    blocks += _study_tables(arms, metrics, result)
    recall = _recall_table(arms, result)
    if recall is not None:
        blocks.append(recall)
    sentences = [str(_find(result.get("verdicts"), arm, metrics[0]).get("sentence") or "") for arm in arms]
    if any(sentences):
        heading = f"In words, for {words.metric_name(metrics[0])}"
        blocks.append(Notes(heading, [sentence for sentence in sentences if sentence]))
    return Section("study", "Do they help a classifier?", blocks, lead=lead + ", which no model had seen.")


def _find(rows: Sequence[Mapping[str, Any]] | None, arm: str, metric: str) -> Mapping[str, Any]:
    return next((row for row in rows or [] if row.get("arm") == arm and row.get("metric") == metric), {})


def _arm_chart(metric: str, arms: Sequence[str], result: Mapping[str, Any]) -> Chart:
    entries = []
    for arm in arms:
        row = _find(result["summary"], arm, metric)
        cells = sorted(
            (cell for cell in result.get("cells") or [] if cell.get("arm") == arm),
            key=lambda cell: str(cell.get("seed")),
        )
        points = [(cell.get("metrics") or {}).get(metric) for cell in cells]
        entries.append(
            {
                "label": arm, "value": row.get("mean"), "low": row.get("low"), "high": row.get("high"),
                "points": [point for point in points if point is not None],
                "role": "real" if arm == "real" else "synthetic" if "synthetic" in arm else "neutral",
            }
        )  # fmt: skip
    return figures.intervals(words.metric_name(metric), entries, x_label="higher is better")


def _difference_chart(metric: str, arms: Sequence[str], result: Mapping[str, Any]) -> Chart | None:
    entries = []
    for arm in arms:
        row = _find(result.get("differences"), arm, metric)
        if row:
            verdict = str(_find(result.get("verdicts"), arm, metric).get("verdict"))
            entries.append(
                {
                    "label": arm, "value": row.get("mean"), "low": row.get("low"), "high": row.get("high"),
                    "role": ROLE.get(verdict, "neutral"),
                }
            )  # fmt: skip
    if not entries:
        return None
    name = words.metric_name(metric)
    return figures.intervals(
        f"{name}, difference from real", entries, zero=True, x_label="right of the line: better"
    )


def _study_tables(arms: Sequence[str], metrics: Sequence[str], result: Mapping[str, Any]) -> list[Block]:
    """Means per arm and metric, and the differences from `real` with their verdicts."""
    head = ["arm", *(words.metric_name(metric) for metric in metrics)]
    means, differences = [], []
    for arm in arms:
        found = [_find(result["summary"], arm, metric) for metric in metrics]
        means.append([arm, *(_three(row.get("mean"), row) for row in found)])
        found = [_find(result.get("differences"), arm, metric) for metric in metrics]
        if any(found):
            verdicts = [_find(result.get("verdicts"), arm, metric).get("verdict") for metric in metrics]
            cells = [
                f"{_three(row.get('mean'), row, '+')}\n{_verdict(verdict, row)}".strip()
                for row, verdict in zip(found, verdicts)
            ]
            differences.append([arm, *cells])
    tables: list[Block] = [Table(head, means, caption="Mean over seeds, with interval")]
    if differences:
        tables.append(Table(head, differences, caption="Difference from real, with interval, p and verdict"))
    comparisons = result.get("comparisons") or []
    rivals: list[list[str]] = []
    for against in dict.fromkeys(str(row.get("against")) for row in comparisons):
        mine = [row for row in comparisons if row.get("against") == against]
        found = [next((row for row in mine if row.get("metric") == metric), {}) for metric in metrics]
        rivals.append([against, *(_three(row.get("mean"), row, "+") for row in found)])
    if rivals:
        caption = f"Difference of {comparisons[0].get('arm')} from the other arms, with interval"
        tables.append(Table(["against", *head[1:]], rivals, caption=caption))
    return tables


SIGNS = {"helps": "▲ ", "hurts": "▼ ", "no evidence": "● "}


def _three(value: float | None, row: Mapping[str, Any], sign: str = "") -> str:
    """A metric between 0 and 1 and its interval with three decimals, so that rows compare at a glance."""
    if value is None:
        return "–"
    shape = f"{{:{sign}.3f}}"
    text = shape.format(value)
    low, high = row.get("low"), row.get("high")
    if low is not None and high is not None:
        text += f" ({shape.format(low)} to {shape.format(high)})"
    return text.replace("-", "−")


def _verdict(verdict: object, row: Mapping[str, Any]) -> str:
    """The verdict and the p-value, the one adjusted for the number of arms where there is one."""
    adjusted = row.get("p_holm") is not None
    p = row.get("p_holm") if adjusted else row.get("p")
    said = f"{SIGNS.get(str(verdict), '')}{verdict}" if verdict else ""
    chance = "" if p is None else "p < 0.001" if p < 0.001 else f"p = {number(p, 2)}"
    return ", ".join(filter(None, [said, chance + (" (Holm)" if adjusted else "")]))


def _recall_table(arms: Sequence[str], result: Mapping[str, Any]) -> Table | None:
    """Mean recall over seeds per class and arm: a gain for one class at the cost of another is seen."""
    gathered: dict[str, dict[str, list[float]]] = {}
    for cell in result.get("cells") or []:
        for name, value in ((cell.get("metrics") or {}).get("recall") or {}).items():
            if value is not None:
                gathered.setdefault(str(name), {}).setdefault(str(cell.get("arm")), []).append(float(value))
    if not gathered:
        return None
    per_class = (result.get("test") or {}).get("per_class") or {}
    body = []
    for name, by_arm in gathered.items():
        values = [number(sum(by_arm[arm]) / len(by_arm[arm])) if arm in by_arm else "–" for arm in arms]
        body.append([name, *values, plain_count(per_class.get(name))])
    return Table(["class", *arms, "n test"], body, caption="Recall per class, mean over seeds")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{number(100 * float(share), 2)} %"


# Copies


def copies(material: Material) -> Section | None:
    """The copies audit: its sentence, the distances, the closest pairs."""
    found = (material.score or {}).get("copies")
    if not found:
        return None
    blocks: list[Block] = []
    kind = material.others
    histogram = found.get("histogram") or {}
    if histogram.get("edges"):
        counts = {
            "held-out real to train": histogram.get("holdout") or [],
            f"{kind} to train": histogram.get("synthetic") or [],
        }
        chart = figures.histogram(
            "Distance to the nearest training image", histogram["edges"], counts,
            threshold=found.get("threshold"), x_label="relative distance (left of the threshold: suspicious)",
        )  # fmt: skip
        blocks.append(Charts([chart], wide=True))
        if found.get("metric"):
            blocks.append(Text([f"Distance: {found['metric']}."]))
    low, high, share = found.get("low"), found.get("high"), found.get("share_suspect")
    between = (
        f" ({number(100 * low, 2)} to {number(100 * high, 2)} %)"
        if low is not None and high is not None
        else ""
    )
    facts = [
        ("Suspected", f"{plain_count(found.get('n_suspect'))} of {plain_count(found.get('n'))}"),
        ("Share", "–" if share is None else f"{number(100 * float(share), 2)} %{between}"),
        ("Expected by chance", _percent(found.get("expected_share"))),
        ("The same picture", plain_count(found.get("n_identical"))),
        (f"Median distance, {kind} to train", number(found.get("median_synthetic"))),
        ("Median distance, held-out real to train", number(found.get("median_holdout"))),
        ("Threshold", number(found.get("threshold"))),
    ]  # fmt: skip
    blocks.append(Facts([(name, value) for name, value in facts if value != "–"]))
    panel = found.get("panel")
    if panel and material.score_path is not None:
        picture = pictures.from_file(
            material.score_path / str(panel), f"The closest pairs: {kind} and training images",
            caption=f"The closest pairs: {kind} images with their nearest training images.",
        )  # fmt: skip
        if picture is not None:
            blocks.append(Pictures([picture], wide=True))
    suspects = list(found.get("suspects") or [])[:10]
    if suspects:
        body = [
            [
                str(s.get("synthetic_id")),
                str(s.get("train_id")),
                number(s.get("distance")),
                number(s.get("percentile")),
            ]
            for s in suspects
        ]
        head = [f"{kind} image", "nearest training image", "distance", "percentile of held-out"]
        blocks.append(Table(head, body, caption="The closest pairs", words=frozenset({1})))
    title = "Do they copy?" if kind == "synthetic" else "How close do they come to training images?"
    return Section("copies", title, blocks, lead=words.copies_sentence(found))
