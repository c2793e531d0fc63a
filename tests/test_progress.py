from __future__ import annotations

import pytest

from plenish import settings
from plenish.progress import plain_duration, plain_number, progress, told_to


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (226_123.0, "226,000"), (1_234_567.0, "1,230,000"), (999.7, "1,000"), (41.27, "41.3"), (8.0, "8.00"),
        (0.02512, "0.0251"), (0.0, "0"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits_and_no_powers_of_ten(value: float, text: str) -> None:
    assert plain_number(value) == text


def test_durations_in_the_unit_a_person_would_use() -> None:
    assert [plain_duration(s) for s in (3.2, 119, 600, 9000)] == ["3 s", "119 s", "10 min", "2.5 h"]


def test_a_finished_job_has_nothing_left(capsys: pytest.CaptureFixture[str]) -> None:
    with settings.use(quiet=False), progress("reading", 1_000_000) as bar:
        for _ in range(4):
            bar.advance(250_000)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in lines] == [f"reading: {p} %" for p in (25, 50, 75, 100)]
    assert "e+" not in "".join(lines)
    assert ["left" in line for line in lines] == [True, True, True, False]


def test_progress_is_told_to_a_function_which_may_end_the_work() -> None:
    told: list[float] = []

    def tell(share: float) -> None:
        told.append(share)
        if share == 1:
            raise RuntimeError("enough")

    with told_to(tell), progress("work", 4) as bar:
        bar.advance(1)
        with pytest.raises(RuntimeError, match="enough"):
            bar.advance(3)
    assert told == [0.25, 1]
    with progress("work", 4) as bar:
        bar.advance(4)
    assert told == [0.25, 1]
