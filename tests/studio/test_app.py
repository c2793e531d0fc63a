from __future__ import annotations

from urllib.parse import unquote

import pytest

from plenish.studio.app import _attachment


@pytest.mark.parametrize(
    ("name", "plain", "full"),
    [
        ("ids.csv", "ids.csv", "ids.csv"),
        ("tumör 腫瘍.csv", "tum_r __.csv", "tumör 腫瘍.csv"),
        ('a"\\b%.csv', "a__b_.csv", 'a"\\b%.csv'),
        ("a\r\nset-cookie: x\0.csv", "a__set-cookie: x_.csv", "a__set-cookie: x_.csv"),
        ("\ud800.csv", "_.csv", "_.csv"),
    ],
)
def test_a_download_may_have_a_name_of_any_letters(name: str, plain: str, full: str) -> None:
    header = _attachment(name)
    header.encode("ascii")
    before, _, after = header.partition("; filename*=UTF-8''")
    assert before == f'attachment; filename="{plain}"'
    assert unquote(after) == full
    assert header.isprintable()
