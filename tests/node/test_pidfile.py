"""The pid file: complete or absent, left-over ones replaced, those in use respected."""

import fcntl
import os

import pytest

from node.errors import PidFileError
from node.pidfile import pid_file


class TestPidFile:
    def test_holds_the_process_id_while_the_context_lasts(self, tmp_path):
        path = tmp_path / "pid"
        with pid_file(path):
            assert path.read_text() == f"{os.getpid()}\n"
        assert list(tmp_path.iterdir()) == []

    def test_is_removed_when_the_context_ends_in_an_error(self, tmp_path):
        with pytest.raises(LookupError), pid_file(tmp_path / "pid"):
            raise LookupError
        assert list(tmp_path.iterdir()) == []

    def test_is_not_written_without_a_path(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pid_file(None):
            assert list(tmp_path.iterdir()) == []

    def test_can_be_read_by_everybody(self, tmp_path):
        with pid_file(tmp_path / "pid"):
            assert (tmp_path / "pid").stat().st_mode & 0o444

    @pytest.mark.parametrize("content", ["", "1\n", "99999999\n", "no number"])
    def test_that_was_left_behind_is_replaced_whatever_it_says(self, tmp_path, content):
        path = tmp_path / "pid"
        path.write_text(content)
        with pid_file(path):
            assert path.read_text() == f"{os.getpid()}\n"

    def test_of_a_running_process_is_respected(self, tmp_path):
        path = tmp_path / "pid"
        with pid_file(path):
            with (
                pytest.raises(PidFileError, match=rf"{path} belongs to process {os.getpid()}, which is running"),
                pid_file(path),
            ):
                raise AssertionError
            assert path.exists()

    def test_that_another_process_has_replaced_is_left_alone(self, tmp_path):
        path = tmp_path / "pid"
        with pid_file(path):
            path.unlink()
            path.write_text("7\n")
        assert path.read_text() == "7\n"

    def test_that_somebody_removed_is_no_trouble(self, tmp_path):
        with pid_file(tmp_path / "pid"):
            (tmp_path / "pid").unlink()
        assert list(tmp_path.iterdir()) == []

    def test_is_emptied_where_it_may_not_be_removed(self, tmp_path, monkeypatch):
        path = tmp_path / "pid"

        def refuse(_):
            raise PermissionError

        with pid_file(path):
            monkeypatch.setattr(type(path), "unlink", refuse)
        assert path.read_text() == ""

    def test_in_a_directory_that_is_not_there_is_an_error_that_names_it(self, tmp_path):
        path = tmp_path / "missing" / "pid"
        with (
            pytest.raises(PidFileError, match=rf"cannot write the pid file {path}: No such file or directory"),
            pid_file(path),
        ):
            raise AssertionError

    def test_on_a_directory_is_an_error_and_leaves_nothing_behind(self, tmp_path):
        path = tmp_path / "pid"
        path.mkdir()
        with pytest.raises(PidFileError, match="Is a directory"), pid_file(path):
            raise AssertionError
        assert list(tmp_path.iterdir()) == [path]

    def test_gives_its_lock_back(self, tmp_path):
        path = tmp_path / "pid"
        with pid_file(path):
            held = path.open()
        with held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
