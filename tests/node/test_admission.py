"""Whether a connection may stay, by the number of its file."""

import resource

import pytest
import structlog

from node.gateway.admission import LOG_INTERVAL, RESERVED, Admission

LIMIT = 256


@pytest.fixture
def admission(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (LIMIT, 1024))
    return Admission()


def test_is_so_up_to_the_files_that_are_kept_for_other_things(admission):
    assert [admission.admits(number, 0.0) for number in (3, LIMIT - RESERVED - 1, LIMIT - RESERVED, LIMIT - 1)] == [
        True,
        True,
        False,
        False,
    ]
    assert admission.refused == 2


def test_is_said_once_a_minute_and_how_often_it_was_not_so(admission):
    with structlog.testing.capture_logs() as said:
        for second in range(int(LOG_INTERVAL) + 1):
            admission.admits(LIMIT - 1, float(second))
            admission.admits(LIMIT - 1, float(second))
    assert [event["connections"] for event in said] == [1, 120]
    assert {event["log_level"] for event in said} == {"warning"}


def test_is_always_so_where_there_is_no_limit(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert Admission().admits(1_000_000, 0.0)
