from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fabricate import make_data

from plenish.datasets.dataset import Dataset
from plenish.studio.browse import DataState, Filter
from plenish.studio.catalogue import Catalogue, id_of
from plenish.studio.config import StudioConfig
from plenish.studio.data import PAGE, _open
from plenish.studio.pages import Asked, Studio
from plenish.studio.sessions import Sessions
from plenish.studio.wordbook import Words


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    data = make_data(tmp_path / "large", ("a", "b"), n=60, size=16)
    parts = np.where(np.array([int(group[1:]) for group in data.table["group"]]) % 2 == 0, "train", "test")
    data.add_split("other", parts.tolist(), {"method": "by hand"})
    make_data(tmp_path / "small", ("a", "b"), n=20, size=8)
    catalogue = Catalogue([], [tmp_path / "large", tmp_path / "small"])
    studio = Studio(StudioConfig(), catalogue, Sessions(session_mb=8))
    yield studio
    studio.sessions.close()


def opened(studio: Studio, path: Path, part: str) -> str:
    """The id of a new view."""
    session = studio.sessions.of("ana")
    _open(studio, Words("en"), session, id_of(path), Filter(part))
    return next(reversed(session.state(DataState)._views))


def get(studio: Studio, name: str, **query: object) -> str:
    asked = Asked(studio.sessions.of("ana"), {key: str(x) for key, x in query.items()}, Words("en"))
    return PAGE.routes[name](studio, asked).content.decode()


def test_many_samples_can_be_opened_from_one_grid(studio: Studio, tmp_path: Path) -> None:
    view = opened(studio, tmp_path / "large", "other/")
    for row in studio.sessions.of("ana").state(DataState).view(view).rows[:20]:
        assert "<dl>" in get(studio, "sample", view=view, row=row)
        get(studio, "near", view=view, row=row, kind="picture")
    assert "data-view" in get(studio, "grid", view=view, start=0)


def test_a_sample_that_has_no_neighbours_is_shown(studio: Studio, tmp_path: Path) -> None:
    shown = get(
        studio, "sample", view=opened(studio, tmp_path / "small", "default/train"), row=_first(tmp_path)
    )
    assert "near-form" not in shown
    for piece in ("<img", "<dl>", "data-mark", "save=1"):
        assert piece in shown


def _first(tmp_path: Path) -> int:
    part = Dataset.open(tmp_path / "small").split().part_of.to_numpy()
    return int(np.flatnonzero(part == "train")[0])


def test_neighbours_are_not_of_the_test_part_of_the_split_in_view(studio: Studio, tmp_path: Path) -> None:
    data = Dataset.open(tmp_path / "large")
    hidden = data.split("other").part_of.to_numpy() == "test"
    view = opened(studio, tmp_path / "large", "other/")
    state = studio.sessions.of("ana").state(DataState)
    found: set[int] = set()
    for row in state.view(view).rows[:5]:
        get(studio, "near", view=view, row=row, kind="picture")
        found |= set(state._near[next(reversed(state._near))].rows.tolist())
    assert not hidden[list(found)].any()
    assert (data.split().part_of.to_numpy()[list(found)] == "test").any()  # Those of 'default' may be seen.
