"""What came from what: Runs as a tree, each with what differs from the Run before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from plenish import files
from plenish.differences import differences, listed
from plenish.errors import InputError
from plenish.runs import Run

_MOST_CHANGES = 6
_NO_CHANGES = ("from", "auto", "source")
"""Entries of a configuration that follow from the others, or from where a Run comes."""


@dataclasses.dataclass
class Node:
    """A Run in the tree.

    Attributes:
        run: the Run.
        made_from: why it is below the one above: "stage 64", "images of synthetic"; empty for a root.
        compared_with: name of the Run that `changes` compares with; empty where there is none.
        changes: what differs from that Run's configuration, one clause each.
        also_from: paths of further Runs it builds on.
        children: the Runs that were made from it, oldest first.
    """

    run: Run
    made_from: str = ""
    compared_with: str = ""
    changes: Sequence[str] = ()
    also_from: Sequence[str] = ()
    children: list[Node] = dataclasses.field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        config, status = self.run.config["config"], self.run.status
        return {
            "run": str(self.run.path), "id": self.run.id, "kind": self.run.kind, "state": self.run.state,
            "recipe": config.get("recipe"), "kimg": status.get("kimg"),
            "data": self.run.config["data"].get("name"), "made_from": self.made_from or None,
            "compared_with": self.compared_with or None, "changes": list(self.changes),
            "also_from": list(self.also_from), "children": [child.summary() for child in self.children],
        }  # fmt: skip


def lineage(runs: Iterable[Run]) -> list[Node]:
    """The Runs as trees, one for each that was not made from another of them; oldest first.

    A Run lies below the first of its parents; one without parents is compared with the oldest one of its kind
    that was trained on the same rows.
    """
    every = [Node(run) for run in sorted(runs, key=lambda run: (run.config["created"], str(run.path)))]
    nodes = {node.run.id: node for node in reversed(every)}  # Of copies of one Run the first.
    roots: list[Node] = []
    for node in every:
        parents = [
            (nodes[key], why) for key, why in _parents(node.run) if key in nodes and key != node.run.id
        ]
        if not parents:
            first = next((root for root in roots if _comparable(root.run, node.run)), None)
            if first is not None:
                _compare(node, first)
            roots.append(node)
            continue
        (above, node.made_from), *others = parents
        node.also_from = [str(other.run.path) for other, _ in others]
        if above.run.kind == node.run.kind:
            _compare(node, above)
        above.children.append(node)
    return roots


def _parents(run: Run) -> Iterator[tuple[str, str]]:
    """Ids of the Runs that a Run builds on, and how."""
    start = run.config["config"].get("from") or {}
    for parent in run.config["parents"]:
        if "id" in parent:
            stage = start.get("stage") if start.get("run_id") == parent["id"] else None
            yield str(parent["id"]), f"stage {stage}" if stage else ""
        elif generator := _generator(Path(str(parent.get("path")))):
            yield str(generator.get("run_id")), f"images of {parent.get('name')}"


def _generator(dataset: Path) -> Mapping[str, Any]:
    """The generator record of a synthetic Dataset; empty where it is gone or names none."""
    try:
        found = files.read_json(dataset / "dataset.json")
    except (InputError, OSError):
        return {}
    record = found["extra"].get("generator") if isinstance(found, dict) and "extra" in found else None
    return record if isinstance(record, Mapping) else {}


def _comparable(a: Run, b: Run) -> bool:
    same = ("pixels_hash", "table_hash", "split_hash")
    return a.kind == b.kind and all(a.config["data"].get(key) == b.config["data"].get(key) for key in same)


def _compare(node: Node, with_: Node) -> None:
    def asked(run: Run) -> dict[str, Any]:
        config = {key: value for key, value in run.config["config"].items() if key not in _NO_CHANGES}
        return {"seed": run.seed, **config}

    clauses = listed(differences(asked(with_.run), asked(node.run)), {})
    more = len(clauses) - _MOST_CHANGES
    node.changes = clauses[:_MOST_CHANGES] + ([f"{more} more"] if more > 0 else [])
    node.compared_with = with_.run.path.name


def lines(roots: Sequence[Node]) -> Iterator[str]:
    """The trees as text, a line a Run and a line for what differs."""
    for root in roots:
        yield from _lines(root, "", "", "")


def _lines(node: Node, before: str, branch: str, below: str) -> Iterator[str]:
    facts = node.summary()
    kimg = "" if facts["kimg"] is None else f", {facts['kimg']:g} kimg"
    what = ", ".join(filter(None, (facts["recipe"], node.made_from)))
    yield f"{before}{branch}{facts['run']}  {facts['kind']}{kimg}, {facts['state']}" + (
        f"  ({what})" if what else ""
    )
    inner = before + below
    bar = "│  " if node.children else "   "
    if node.changes:
        yield f"{inner}{bar}unlike {node.compared_with}: {'; '.join(node.changes)}"
    if node.also_from:
        yield f"{inner}{bar}also from {', '.join(node.also_from)}"
    for child in node.children:
        last = child is node.children[-1]
        yield from _lines(child, inner, "└─ " if last else "├─ ", "   " if last else "│  ")
