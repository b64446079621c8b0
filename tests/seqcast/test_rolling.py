"""The names of sessions: what a pattern gives, and that no name comes back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from seqcast.rolling import DEFAULT_PATTERN, BadPattern, next_name

NOON = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("pattern", "used", "name"),
    [
        (DEFAULT_PATTERN, [], "26112501"),
        (DEFAULT_PATTERN, ["26112501", "26112503", "26112499"], "26112504"),
        (DEFAULT_PATTERN, ["261125Z4ZM", "261125011", "X26112507"], "26112501"),
        ("D%y%j##", ["D2632908"], "D2632909"),
        ("DAY#X", ["DAY7X", "DAY8Y"], "DAY8X"),
        ("####", ["0041", "7"], "0042"),
        ("%y%m%d%H%M", [], "2611251230"),
        ("PROD##", ["PROD98"], "PROD99"),
    ],
)
def test_a_pattern_gives_a_name(pattern: str, used: list[str], name: str) -> None:
    assert next_name(pattern, used, NOON) == name


@pytest.mark.parametrize(
    ("pattern", "used", "sentence"),
    [
        ("#A#", [], "'#A#': a pattern has one run of # at most, and this has 2"),
        ("A#", ["A9"], "'A#': 9 sessions are called A# already, which is all that 1 digits can count"),
        ("%Y%m%d##%H", [], "gives '202611250112': a session has 1 to 10"),
        ("D-%j", [], "gives 'D-329': a session has 1 to 10 ASCII letters or digits"),
        ("", [], "gives '': a session has 1 to 10"),
        ("%y%m%d", ["261125"], "gives '261125', which was a session before: add a counter, ##"),
    ],
)
def test_a_pattern_that_gives_none(pattern: str, used: list[str], sentence: str) -> None:
    with pytest.raises(BadPattern) as caught:
        next_name(pattern, used, NOON)
    assert sentence in str(caught.value)
