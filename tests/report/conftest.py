from __future__ import annotations

from collections.abc import Iterator

import pytest
from fabricate import Work, make_work

from plenish import settings


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return make_work(tmp_path_factory.mktemp("work"))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with settings.use(quiet=True):
        yield
