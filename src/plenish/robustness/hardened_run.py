"""What the Run of a hardened classifier says of its hardening; known without torch."""

from __future__ import annotations

from typing import Any

from plenish.robustness.radius import format_eps
from plenish.runs import Run
from plenish.wording import plural

_CLEAN, _ROBUST = "val_balanced_accuracy", "val_robust_balanced_accuracy"


def hardened(run: Run) -> dict[str, Any]:
    """How a classifier's Run is hardened, and its best checkpoint's scores on val; nothing of another Run."""
    asked = run.config["config"].get("hardening")
    if run.kind != "classifier" or not asked:
        return {}
    eps, norm = format_eps(asked["eps"], asked["norm"]), asked["norm"]
    said: dict[str, Any] = {"hardening": f"{asked['method']}, eps {eps} ({norm})"}
    step = run.status.get("best", {}).get("step")
    lines = [line for _, line in run.logged() if line.get("step") == step and _ROBUST in line]
    if not lines:
        return said
    attack = f"PGD of {plural(asked['validation_steps'], 'step')} at eps {eps} ({norm})"
    clean, robust = (float(lines[-1][name]) for name in (_CLEAN, _ROBUST))
    return said | {"val": {"balanced_accuracy": clean, "robust_balanced_accuracy": robust, "attack": attack}}
