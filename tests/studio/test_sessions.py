from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plenish.errors import InputError
from plenish.studio.sessions import Medium, Sessions


@pytest.fixture
def sessions() -> Iterator[Sessions]:
    made = Sessions(session_mb=1)
    yield made
    made.close()


class Notes:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.closed = False

    def close(self) -> None:
        self.closed = True


def owner(sessions: Sessions) -> str:
    found = sessions.owner_of(sessions.new_token())
    assert found is not None
    return found


def test_two_users_share_nothing(sessions: Sessions) -> None:
    a, b = (sessions.of(owner(sessions)) for _ in range(2))
    a.state(Notes).lines.append("mine")
    assert a.state(Notes).lines == ["mine"]
    assert b.state(Notes).lines == []
    key = a.keep(Medium(b"x", "image/png")).rpartition("/")[2]
    assert a.medium(key).content == b"x"
    with pytest.raises(InputError):
        b.medium(key)
    assert a.folder != b.folder


def test_only_cookies_that_this_server_signed_are_known(sessions: Sessions) -> None:
    token = sessions.new_token()
    name, _, signature = token.partition(".")
    assert sessions.owner_of(token) == name
    other = Sessions(session_mb=8)
    forged = ["", ".", name, f"{name}.", f"{name}x.{signature}", f".{signature}", "é.é"]
    assert [sessions.owner_of(one) for one in [*forged, other.new_token()]] == [None] * (len(forged) + 1)
    other.close()


def test_memory_of_a_session_is_bounded(sessions: Sessions) -> None:
    session = sessions.of(owner(sessions))
    keys = [session.keep(Medium(bytes(300_000), "image/png")).rpartition("/")[2] for _ in range(5)]
    kept = []
    for key in keys:
        try:
            kept.append(len(session.medium(key).content))
        except InputError:
            continue
    assert kept == [300_000] * 3
    session.medium(keys[-1])


def test_a_closed_page_frees_its_memory_and_files(sessions: Sessions) -> None:
    who = owner(sessions)
    sessions.page_opened(who, "one")
    sessions.page_opened(who, "two")
    session = sessions.of(who)
    notes, folder = session.state(Notes), session.folder
    (folder / "file").write_bytes(b"x")
    sessions.page_closed(who, "one")
    assert sessions.sweep(grace=0) == 0
    sessions.page_closed(who, "two")
    assert sessions.sweep(grace=60) == 0
    assert sessions.sweep(grace=0) == 1
    assert notes.closed
    assert not folder.exists()
    assert len(sessions) == 0
    assert sessions.of(who).state(Notes) is not notes


def test_pages_that_never_close_do_not_keep_a_session(sessions: Sessions) -> None:
    who = owner(sessions)
    for page in range(1000):
        sessions.page_opened(who, f"invented {page}")
    assert len(sessions.of(who).pages) == 50
    assert "invented 999" in sessions.of(who).pages
    with sessions.request(who):
        with sessions.request(who):
            pass
        assert sessions.sweep(grace=0, idle=0) == 0
    assert sessions.sweep(grace=0) == 0
    assert sessions.sweep(grace=0, idle=0) == 1
    assert len(sessions) == 0


def test_a_request_begins_the_time_anew(sessions: Sessions) -> None:
    who = owner(sessions)
    sessions.page_opened(who, "one")
    session = sessions.of(who)
    session.left -= 1000
    with sessions.request(who):
        pass
    assert sessions.sweep() == 0
    session.left -= 1000
    assert sessions.sweep() == 1


def test_closing_all_removes_the_folder() -> None:
    made = Sessions(session_mb=8)
    parent = made.of(owner(made)).folder.parent
    assert parent.is_dir()
    made.close()
    assert not Path(parent).exists()
