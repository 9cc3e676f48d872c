"""The log: formats, levels, libraries, rotation, and a reader that does not read."""

import io
import json
import logging
import os
import pty
import re
import threading
import warnings

import pytest
import structlog

from node import logs
from node.configuration import Configuration, LogFormat, LogLevel
from node.errors import LogFileError


@pytest.fixture
def file(tmp_path):
    return tmp_path / "node.log"


def configured(tmp_path, **settings) -> Configuration:
    return Configuration(name="n", data_dir=tmp_path, **settings)


@pytest.fixture
def logged(tmp_path, file):
    """Return a function that logs in a given way, and returns the lines."""

    def log(act, **settings) -> list[str]:
        with logs.logging_to(configured(tmp_path, log_file=file, **settings)):
            act(structlog.get_logger())
        return file.read_text(encoding="utf-8").splitlines()

    return log


class TestJson:
    def test_has_time_level_and_event_first(self, logged):
        (line,) = logged(lambda log: log.info("listening", port=4730))
        event = json.loads(line)
        assert list(event) == ["timestamp", "level", "event", "port"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["timestamp"])
        assert (event["level"], event["event"], event["port"]) == ("info", "listening", 4730)

    def test_is_one_line_whatever_is_in_it(self, logged):
        lines = logged(lambda log: log.info("x", text="a\nb\u2028\udcff", raw=b"\xff\n", thing=object()))
        assert len(lines) == 1
        assert json.loads(lines[0])["text"] == "a\nb\u2028\udcff"

    def test_holds_a_traceback_as_text(self, logged):
        def fail(log):
            try:
                {}["gone"]
            except KeyError:
                log.exception("failed")

        (line,) = logged(fail)
        assert json.loads(line)["level"] == "error"
        assert json.loads(line)["exception"].endswith("KeyError: 'gone'")

    def test_is_what_auto_means_for_a_file(self, logged):
        (line,) = logged(lambda log: log.info("x"), log_format=LogFormat.AUTO)
        assert json.loads(line)["event"] == "x"


class TestConsole:
    def test_is_text_without_colours_in_a_file(self, logged):
        (line,) = logged(lambda log: log.info("listening", port=4730), log_format=LogFormat.CONSOLE)
        assert re.search(r"\[info +\] listening +port=4730$", line)

    def test_keeps_what_a_client_named_on_one_line(self, logged):
        lines = logged(lambda log: log.info("x", function="a\n2026 [info] forged"), log_format=LogFormat.CONSOLE)
        assert len(lines) == 1

    @pytest.mark.parametrize(("colourless", "escapes"), [(None, True), ("1", False)])
    def test_is_coloured_on_a_terminal_unless_told_otherwise(self, tmp_path, monkeypatch, colourless, escapes):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        if colourless:
            monkeypatch.setenv("NO_COLOR", colourless)
        master, slave = pty.openpty()
        try:
            terminal = tmp_path / "terminal"
            terminal.symlink_to(os.ttyname(slave))
            with logs.logging_to(configured(tmp_path, log_file=terminal)):
                structlog.get_logger().info("listening")
            line = os.read(master, 4096)
        finally:
            os.close(master)
            os.close(slave)
        assert b"listening" in line
        assert (b"\x1b[" in line) is escapes


class TestLevel:
    def test_leaves_out_what_is_less_severe(self, logged):
        def act(log):
            for level in ("debug", "info", "warning", "error", "critical"):
                getattr(log, level)("said")

        lines = logged(act, log_level=LogLevel.WARNING)
        assert [json.loads(line)["level"] for line in lines] == ["warning", "error", "critical"]

    def test_counts_for_libraries_too(self, logged):
        def act(_):
            logging.getLogger("library").info("chatter")
            logging.getLogger("library").error("trouble")

        (line,) = logged(act, log_level=LogLevel.WARNING)
        assert json.loads(line)["event"] == "trouble"


class TestLibraries:
    def test_are_logged_with_their_name(self, logged):
        (line,) = logged(lambda _: logging.getLogger("asyncio").warning("slow: %s s", 3))
        event = json.loads(line)
        assert (event["event"], event["logger"], event["level"]) == ("slow: 3 s", "asyncio", "warning")

    def test_are_logged_with_their_traceback(self, logged):
        def act(_):
            try:
                {}["gone"]
            except KeyError:
                logging.getLogger("library").exception("failed")

        (line,) = logged(act)
        assert json.loads(line)["exception"].endswith("KeyError: 'gone'")

    def test_that_cannot_format_their_message_harm_nobody(self, logged):
        def act(log):
            logging.getLogger("library").warning("%d", "text")
            log.info("alive")

        (line,) = logged(act)
        assert json.loads(line)["event"] == "alive"

    def test_have_their_warnings_logged(self, logged):
        def act(_):
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                logging.captureWarnings(capture=False)  # once more, on top of the filter's own hook
                logging.captureWarnings(capture=True)
                warnings.warn("old", DeprecationWarning, stacklevel=1)

        (line,) = logged(act)
        assert json.loads(line)["logger"] == "py.warnings"

    def test_are_as_before_afterwards(self, logged):
        root = logging.getLogger()
        before = (root.handlers[:], root.level, structlog.get_config())
        logged(lambda log: log.info("x"))
        assert (root.handlers[:], root.level, structlog.get_config()) == before


class TestLogFile:
    def test_is_appended_to(self, logged, file):
        file.write_text("before\n")
        assert logged(lambda log: log.info("x"))[0] == "before"

    def test_that_cannot_be_opened_is_named(self, tmp_path):
        with (
            pytest.raises(LogFileError, match=r"log_file: cannot open .*/missing/log: No such file or directory"),
            logs.logging_to(configured(tmp_path, log_file=tmp_path / "missing" / "log")),
        ):
            raise AssertionError

    def test_is_opened_by_its_name_again_after_a_rotation(self, tmp_path, file):
        with logs.logging_to(configured(tmp_path, log_file=file)) as writer:
            structlog.get_logger().info("first")
            writer.flush(5)
            file.rename(tmp_path / "node.log.1")
            logs.reopen()
            structlog.get_logger().info("second")
        assert json.loads(file.read_text())["event"] == "second"
        assert json.loads((tmp_path / "node.log.1").read_text())["event"] == "first"

    def test_goes_on_where_it_was_when_it_cannot_be_opened_again(self, tmp_path):
        directory = tmp_path / "logs"
        directory.mkdir()
        with logs.logging_to(configured(tmp_path, log_file=directory / "log")):
            directory.rename(tmp_path / "moved")
            logs.reopen()
        (event,) = map(json.loads, (tmp_path / "moved" / "log").read_text().splitlines())
        assert event["event"] == "log_not_reopened"

    def test_is_nothing_to_open_again_for_stderr_or_without_a_log(self, tmp_path):
        logs.reopen()
        with logs.logging_to(configured(tmp_path)) as writer:
            logs.reopen()
            assert writer.dropped == 0


class TestLogWriter:
    def test_writes_lines_in_their_order_from_many_threads(self, file):
        writer = logs.LogWriter(file)

        def write(name: int) -> None:
            for number in range(200):
                writer.write(f"{name} {number}")

        threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.close()
        lines = [tuple(map(int, line.split())) for line in file.read_text().splitlines()]
        assert len(lines) == 800
        for name in range(4):
            assert [number for who, number in lines if who == name] == list(range(200))

    def test_drops_lines_rather_than_wait_for_a_reader_and_says_so_when_it_reads_again(self, tmp_path):
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        told: list[int] = []
        writer = logs.LogWriter(fifo, max_waiting_lines=5, on_dropped=told.append)
        for _ in range(100):
            writer.write("x" * 65536)  # as much as a pipe holds: at most two can leave, one more is in hand
        dropped = writer.dropped
        assert dropped >= 100 - 5 - 1 - 5
        os.set_blocking(reader, True)
        with io.FileIO(reader) as stream:
            received = 0
            while received < (100 - dropped) * 65537:
                received += len(stream.read(65536) or b"")
            writer.write("again")
            assert writer.flush(10)
            writer.close()
        assert told == [dropped]

    def test_survives_a_reader_that_goes_away(self, tmp_path):
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        writer = logs.LogWriter(fifo)
        os.close(reader)
        writer.write("lost")
        assert writer.flush(10)
        writer.write("lost too")
        assert writer.flush(10)
        writer.close()
        assert writer.dropped == 2

    def test_survives_a_full_disk(self, tmp_path):
        full = tmp_path / "full"
        full.symlink_to("/dev/full")
        writer = logs.LogWriter(full)
        writer.write("lost")
        writer.close()
        assert writer.dropped == 1

    def test_does_not_wait_at_the_end_for_a_reader_that_never_reads(self, tmp_path):
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        writer = logs.LogWriter(fifo)
        writer.write("x" * 1_000_000)
        writer.close(timeout=0.01)
        os.close(reader)  # ends the thread, which was still writing
        assert writer.flush(10)
