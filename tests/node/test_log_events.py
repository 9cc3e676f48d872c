"""docs/log-events.md names every warning that the program gives, and nothing that it does not say."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/log-events.md").read_text(encoding="utf-8")
SOURCES = {
    path: path.read_text(encoding="utf-8")
    for package in ("node", "cluster")
    for path in (ROOT / package).rglob("*.py")
    if "dev" not in path.parts
}
WARNINGS = sorted(
    {event for text in SOURCES.values() for event in re.findall(r'log\.(?:warning|error|critical)\(\s*"(\w+)"', text)}
)
NAMED = sorted(
    {event for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE) for event in re.findall(r"`(\w+)`", row)}
)


def test_the_program_gives_warnings():
    assert len(WARNINGS) > 25


@pytest.mark.parametrize("event", WARNINGS)
def test_a_warning_is_explained(event):
    assert event in NAMED


@pytest.mark.parametrize("event", NAMED)
def test_an_event_that_is_explained_is_logged_somewhere(event):
    assert any(f'"{event}"' in text for text in SOURCES.values())
