"""What a person sees of a cluster in one terminal: lines of several processes, told apart by name and colour.

On a terminal the names are coloured, and the levels that matter; anything else gets plain text. A line is never cut,
wrapped or reformatted. Not for: what is worth saying.
"""

import contextlib
import re
import sys
from collections.abc import Callable
from typing import Final, TextIO

import rich.console
from rich.text import Text

OWN_NAME: Final = "gearmesh"

_COLOURS: Final = ("cyan", "magenta", "green", "blue", "yellow", "bright_cyan", "bright_magenta", "bright_green", "red")
_ALARMING: Final = re.compile(r'\[(?P<a>warning|error|critical) *\]|"level": ?"(?P<b>warning|error|critical)"')


class Screen:
    """Prints lines under their process's name.

    Once nobody reads them any more, `lost` is True, `on_lost` is called, and what is still to be said is dropped.
    """

    def __init__(self, file: TextIO) -> None:
        if hasattr(file, "reconfigure"):
            file.reconfigure(errors="backslashreplace")
        self.lost = False
        self.on_lost: Callable[[], None] = _nobody_minds
        self._console = _Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._styles: dict[str, str] = {}

    def log_line(self, name: str, line: str) -> None:
        """Print one line that the process called `name` wrote."""
        body = Text.from_ansi(line)
        for match in _ALARMING.finditer(body.plain):
            level = "a" if match["a"] else "b"
            body.stylize("yellow" if match[level] == "warning" else "bold red", *match.span(level))
        self._print(self._prefix(name, self._style(name)) + body)

    def say(self, line: str, style: str = "") -> None:
        """Print one line about the cluster as a whole."""
        self._print(self._prefix(OWN_NAME, "bold") + Text(line, style))

    def show(self, text: str) -> None:
        """Print text without a name before it, so that it can be copied."""
        self._print(Text(text))

    def _style(self, name: str) -> str:
        return self._styles.setdefault(name, _COLOURS[len(self._styles) % len(_COLOURS)])

    @staticmethod
    def _prefix(name: str, style: str) -> Text:
        return Text.assemble((f"{name:<{len(OWN_NAME)}} | ", style))

    def _print(self, text: Text) -> None:
        if self.lost:
            return
        try:
            self._console.print(text)
        except OSError:  # the terminal was closed, or the disk behind the redirection is full
            self.lost = True
            with contextlib.suppress(OSError):
                sys.stderr.write("gearmesh: the output cannot be written any more\n")
            self.on_lost()


def _nobody_minds() -> None:
    pass


class _Console(rich.console.Console):
    """rich's console, but for its answer to a closed pipe, which is to end the process with the nodes still running."""

    def on_broken_pipe(self) -> None:
        """Leave it to the caller."""
        raise OSError("the pipe is closed")
