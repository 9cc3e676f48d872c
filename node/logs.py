"""The node's log: structlog events, one line each, written beside the event loop.

A line goes to stderr or to a file; coloured text for a terminal, JSON for anything else. The loop never waits for the
log: a thread writes it, and when nobody reads the other end, lines are dropped and counted rather than kept without
end. What libraries say through `logging` and `warnings` takes the same way. Not for: what is worth logging.
"""

import collections
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Final

import structlog

from node.configuration import Configuration, LogFormat
from node.errors import LogFileError

MAX_WAITING_LINES: Final = 10_000
"""Lines that wait to be written before further ones are dropped."""

_CLOSE_TIMEOUT: Final = 1.0
"""Seconds that a clean end waits for the last lines to be written."""


class LogWriter:
    """Writes lines to stderr or to a file from a thread of its own; never blocks and never raises."""

    def __init__(
        self,
        path: Path | None,
        *,
        max_waiting_lines: int = MAX_WAITING_LINES,
        on_dropped: Callable[[int], None] | None = None,
    ) -> None:
        """Open `path` for appending, or take stderr where it is None.

        `on_dropped` is told how many lines were dropped once lines can be written again. Raises LogFileError.
        """
        self._path = path
        self._on_dropped = on_dropped
        self._max_waiting_lines = max_waiting_lines
        self._descriptor = 2 if path is None else _open(path)
        self._lines: collections.deque[str] = collections.deque()
        lock = threading.Lock()
        self._wake = threading.Condition(lock)
        self._idle = threading.Condition(lock)
        self._writing = False
        self._closing = False
        self.dropped = 0
        """Lines that were dropped because those before them could not be written in time, or at all."""
        self._thread = threading.Thread(target=self._write_lines, name="log", daemon=True)
        self._thread.start()

    def is_terminal(self) -> bool:
        """Tell whether the lines go to a terminal that can show colours."""
        return os.isatty(self._descriptor) and os.environ.get("TERM", "dumb") != "dumb"

    def write(self, line: str) -> None:
        """Take one line, without its end, to be written soon."""
        with self._wake:
            if self._closing or len(self._lines) >= self._max_waiting_lines:
                self.dropped += 1
            else:
                self._lines.append(line)
                self._wake.notify()

    def reopen(self) -> None:
        """Open the file by its name once more, after a log rotation has moved it away; nothing to do for stderr.

        Raises LogFileError, and goes on with the file it had.
        """
        if self._path is None:
            return
        fresh = _open(self._path)
        try:
            # The number stays, so that the thread never holds one that is closed or belongs to something else.
            os.dup2(fresh, self._descriptor, inheritable=False)
        finally:
            os.close(fresh)

    def flush(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until every line taken so far is written or dropped; tell whether it is."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._lines and not self._writing, timeout)

    def close(self, timeout: float = _CLOSE_TIMEOUT) -> None:
        """Write what waits and stop, or give up after `timeout` seconds when nobody takes it."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)
        if self._path is not None and not self._thread.is_alive():
            os.close(self._descriptor)

    def _write_lines(self) -> None:
        reported = 0
        while True:
            with self._wake:
                self._writing = False
                if not self._lines:
                    self._idle.notify_all()
                self._wake.wait_for(lambda: self._lines or self._closing)
                lines = list(self._lines)
                self._lines.clear()
                self._writing = bool(lines)
                if not lines:
                    return
            data = memoryview("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:  # a closed pipe, a full disk: the log is lost, the jobs are not
                with self._wake:
                    self.dropped += len(lines)
                continue
            if self.dropped > reported and self._on_dropped is not None and not self._closing:
                dropped, reported = self.dropped - reported, self.dropped
                self._on_dropped(dropped)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise LogFileError(f"log_file: cannot open {path}: {error.strerror}") from error


class _Events:
    """structlog's logger at the end of its chain: a rendered event becomes a line."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def msg(self, line: str) -> None:
        """Take one rendered event of any level."""
        self._writer.write(line)

    debug = info = warning = error = critical = exception = msg


class _LibraryHandler(logging.Handler):
    """Passes on what libraries log."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; one that cannot be formatted is its library's fault and harms nobody."""
        with contextlib.suppress(Exception):
            self._writer.write(self.format(record))


_current: LogWriter | None = None


def flush(timeout: float) -> None:
    """Wait at most so many seconds until what was logged is written."""
    if _current is not None:
        _current.flush(timeout)


def reopen() -> None:
    """Open the log file by its name once more (SIGHUP, after a rotation); a file that cannot be opened is logged."""
    if _current is None:
        return
    try:
        _current.reopen()
    except LogFileError as error:
        structlog.get_logger().error("log_not_reopened", error=str(error))


@contextlib.contextmanager
def logging_to(configuration: Configuration) -> Iterator[LogWriter]:
    """Send all logging of this process where the configuration says, for as long as the context lasts.

    On leaving, what waits is written. Raises LogFileError.
    """
    global _current  # noqa: PLW0603 - a process has one log, as structlog and logging have one configuration
    writer = LogWriter(configuration.log_file, on_dropped=_report_dropped)
    level = logging.getLevelNamesMapping()[configuration.log_level.upper()]
    of_every_event: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render = _rendering(configuration.log_format, terminal=writer.is_terminal())

    handler = _LibraryHandler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *of_every_event],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    before = (structlog.get_config(), root.handlers[:], root.level, _current)
    structlog.configure(
        processors=[*of_every_event, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Events(writer),
        cache_logger_on_first_use=False,
    )
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    _current = writer
    try:
        yield writer
    finally:
        logging.captureWarnings(capture=False)
        configuration_before, root.handlers[:], root_level, _current = before
        root.setLevel(root_level)
        structlog.configure(**configuration_before)
        writer.close()


def _rendering(log_format: LogFormat, *, terminal: bool) -> list[Any]:
    if log_format is LogFormat.CONSOLE or (log_format is LogFormat.AUTO and terminal):
        return [
            structlog.dev.ConsoleRenderer(
                colors=terminal and "NO_COLOR" not in os.environ,
                exception_formatter=structlog.dev.plain_traceback,
                repr_native_str=True,  # a name that a client chose cannot make up lines of its own
            )
        ]
    return [structlog.processors.format_exc_info, _first_things_first, structlog.processors.JSONRenderer()]


def _first_things_first(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put time, level and event in front, where people look for them."""
    return {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event} | dict(event)


def _report_dropped(count: int) -> None:
    structlog.get_logger().warning("log_lines_dropped", count=count)
