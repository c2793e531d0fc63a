"""What a GPU makes of Plenish, in one command: speed, agreement, resuming, tests.

    python benchmarks/cuda.py [--out FOLDER] [--baseline CHECKOUT] [--parts NAME ...] [--tiny --device cpu]

Each part is a process with its own time limit; its line is printed, and appended to FOLDER/cuda.jsonl, as it
ends. All limits together are below seven minutes, without a baseline. `--baseline` also measures the training
steps of another checkout with the same verb, in turn with this one. `--tiny --device cpu` tries the script.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
LIMITS = {"card": 30, "filters": 30, "dcgan": 50, "stylegan2": 70, "flow": 30, "resume": 70, "tests": 100}
"""Seconds a part may take, in the order in which they run."""
BASELINE_LIMIT = 60
STEPS = {
    "dcgan": ["--recipe", "dcgan"],
    "stylegan2": [
        "--recipe", "small-stylegan2", "--size", "256", "--batch", "16",
        "--width", "64", "--max-width", "512",
    ],
}  # fmt: skip
TINY = ["--size", "16", "--batch", "4", "--width", "4", "--max-width", "8"]


def run(words: list[str], checkout: Path, limit: float) -> tuple[int, str, str]:
    """Exit code (-1 when stopped at the limit), output and errors of a Python process in a checkout."""
    process = subprocess.Popen(
        [sys.executable, *words], cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(checkout / "src")}, start_new_session=True,
    )  # fmt: skip
    try:
        out, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, errors = process.communicate()
        return -1, out, errors
    return process.returncode, out, errors


def measure(name: str, words: list[str], checkout: Path, limit: float) -> dict[str, Any]:
    """The JSON object that a process prints last, or why there is none."""
    begun = time.perf_counter()
    code, out, errors = run(words, checkout, limit)
    line: dict[str, Any] = {"part": name, "seconds": round(time.perf_counter() - begun, 1)}
    start = out.find("{")
    if code == 0 and start >= 0:
        found: dict[str, Any] = json.loads(out[start:])
        return line | found
    reason = "stopped at its limit" if code == -1 else f"exit code {code}"
    return line | {"failed": reason, "output": out.splitlines()[-5:], "errors": errors.splitlines()[-5:]}


def bench(name: str, checkout: Path, options: argparse.Namespace, limit: float) -> dict[str, Any]:
    """What `plenish bench gan` of a checkout says of a training step."""
    words = ["-m", "plenish", "bench", "gan", *STEPS[name], *(TINY if options.tiny else []), "--rounds"]
    found = measure(name, [*words, "2", "--json", "--quiet", "--device", options.device], checkout, limit)
    if "steps" not in found:
        return found
    (step,) = found["steps"]
    wanted = ("images_per_s", "seconds_kimg", "lazy_penalty_share", "ratio")
    return {"seconds": found["seconds"]} | {key: step[key] for key in wanted if key in step}


def main() -> int:
    """Run the parts; 1 where one failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder that the lines are appended to")
    parser.add_argument("--baseline", type=Path, help="another checkout, measured in the same run")
    parser.add_argument("--parts", nargs="+", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", type=int, default=12, help="of the tests")
    parser.add_argument("--tiny", action="store_true", help="small networks and few tests")
    options = parser.parse_args()
    failed = False

    def report(line: dict[str, Any]) -> None:
        nonlocal failed
        failed |= "failed" in line
        text = json.dumps(line)
        print(text, flush=True)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            with (options.out / "cuda.jsonl").open("a", encoding="utf-8") as file:
                file.write(text + "\n")

    common = ["--device", options.device, *(["--tiny"] if options.tiny else [])]
    for name in options.parts:
        words = ["-m", "benchmarks.cuda_parts", name, *common, "--processes", str(options.processes)]
        # A machine that tries the script may be as busy as it likes: only a part that hangs is ended there.
        report(measure(name, words, HERE, 1800 if options.tiny else LIMITS[name]))
        if options.baseline and name in STEPS:
            both = {"this": HERE, "baseline": options.baseline.resolve()}
            limit = 1800 if options.tiny else BASELINE_LIMIT
            found = {which: bench(name, path, options, limit) for which, path in both.items()}
            report({"part": f"{name}, against the baseline", **found})
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
