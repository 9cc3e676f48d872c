"""What the system allows: the limit of open files, and becoming another user."""

import os
import pwd
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from node import privileges
from node.errors import PrivilegeError

ROOT = Path(__file__).parents[2]
ACCOUNT = pwd.struct_passwd(("ann", "x", 1234, 1235, "", "/home/ann", "/bin/sh"))


@pytest.fixture
def limits(monkeypatch):
    """Stand in for the system's limits; return the list of what was set."""
    made: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 20000))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: made.append(pair))
    return made


@pytest.fixture
def system(monkeypatch):
    """Stand in for the system's accounts; return the list of calls that change the process."""
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(pwd, "getpwnam", {"ann": ACCOUNT}.__getitem__)
    for name in ("initgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda *arguments, name=name: calls.append((name, *arguments)))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return calls


class TestFileDescriptorLimit:
    def test_is_raised_as_far_as_allowed_when_nothing_is_wanted(self, limits):
        assert privileges.raise_file_descriptor_limit(None) == 20000
        assert limits == [(20000, 20000)]

    def test_is_set_to_what_is_wanted(self, limits):
        assert privileges.raise_file_descriptor_limit(4096) == 4096
        assert limits == [(4096, 20000)]

    def test_is_raised_beyond_the_hard_limit_where_the_system_lets_us(self, limits):
        assert privileges.raise_file_descriptor_limit(30000) == 30000
        assert limits == [(30000, 30000)]

    def test_is_left_alone_when_it_is_right(self, limits):
        assert privileges.raise_file_descriptor_limit(1024) == 1024
        assert limits == []

    def test_that_is_refused_is_an_error_when_it_was_asked_for(self, limits, monkeypatch):
        def refuse(*_):
            raise ValueError("not allowed to raise maximum limit")

        monkeypatch.setattr(resource, "setrlimit", refuse)
        with pytest.raises(PrivilegeError, match=r"refuses 30000 open files .*hard limit is 20000"):
            privileges.raise_file_descriptor_limit(30000)

    def test_that_is_refused_is_no_error_when_nothing_was_asked_for(self, limits, monkeypatch):
        def refuse(*_):
            raise ValueError("not allowed to raise maximum limit")

        monkeypatch.setattr(resource, "setrlimit", refuse)
        assert privileges.raise_file_descriptor_limit(None) == 1024

    def test_is_really_set(self):
        program = (
            "import resource; from node.privileges import raise_file_descriptor_limit as limit; limit(100);"
            "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout == "100\n"


class TestUser:
    def test_is_become_with_its_groups_first(self, system):
        privileges.drop_privileges("ann")
        assert system == [("initgroups", "ann", 1235), ("setgid", 1235), ("setuid", 1234)]

    def test_is_not_changed_when_none_is_named(self, system):
        privileges.drop_privileges(None)
        assert system == []

    def test_that_runs_already_is_fine(self, system, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 1234)
        privileges.drop_privileges("ann")
        assert system == []

    def test_that_is_not_there_is_an_error(self, system):
        with pytest.raises(PrivilegeError, match="this host has no user bob"):
            privileges.drop_privileges("bob")

    def test_cannot_be_become_by_somebody_else_than_root(self, system, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 77)
        with pytest.raises(PrivilegeError, match="only root can become ann"):
            privileges.drop_privileges("ann")
        assert system == []

    def test_that_the_system_refuses_is_an_error(self, system, monkeypatch):
        def refuse(_):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "setuid", refuse)
        with pytest.raises(PrivilegeError, match="cannot become ann: Operation not permitted"):
            privileges.drop_privileges("ann")
