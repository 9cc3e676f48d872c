"""What changed in the table since it was last mirrored, and what a mirror under way is still to have as it was.

The mirror is written in segments: of jobs with neighbouring numbers, and of sessions or of functions' settings with
neighbouring serial numbers (*pages*; their segments have negative numbers). Whatever is about to change says so first,
so that it can still be encoded as it was when the mirror was begun. Not for: encoding (`mirror`).
"""

from collections.abc import Callable
from typing import Any, Final

SEGMENT: Final = 256
"""Jobs are mirrored to disk in segments of this many neighbouring numbers."""
PAGE: Final = 16
"""Sessions, and functions with settings, in segments of so many: one session may have thousands of functions."""


class Page:
    """Sessions, or functions with settings, that are mirrored together."""

    __slots__ = ("changed", "changes", "members", "segment")

    def __init__(self, segment: int, changes: "Changes") -> None:
        self.segment = segment
        self.members: dict[int, Any] = {}
        """By serial number, which they get in ascending order."""
        self.changed = False
        """Whether it is known that this page changed since the last mirror was begun."""
        self.changes = changes

    def change(self) -> None:
        """Note that one of the members is about to change, to come or to go: to be said before it does."""
        self.changed = True
        changes = self.changes
        if self.segment in changes.owed:
            changes.take_owed(self.segment)
        changes.pages_changed.add(self.segment)

    def add(self, serial: int, member: object) -> None:
        """Let a member in."""
        if not self.changed:
            self.change()
        self.members[serial] = member

    def remove(self, serial: int) -> None:
        """Let a member go; the last one takes the page with it."""
        if not self.changed:
            self.change()
        del self.members[serial]
        if not self.members:
            del self.changes.pages[self.segment]


class Changes:
    """What a mirror is to have."""

    def __init__(self) -> None:
        self.dirty: set[int] = set()
        """Segments of jobs that changed since the last mirror was begun."""
        self.pages_changed: set[int] = set()
        """Pages that did."""
        self.pages: dict[int, Page] = {}
        """All that have a member."""
        self.owed: set[int] = set()
        """Segments that this mirror is still to have, as they were when it was begun."""
        self.take_owed: Callable[[int], None]

    def begin(self, take: Callable[[int], None]) -> set[int]:
        """Give the segments that changed: a mirror is to have each of them as it is now.

        Whoever takes one at leisure takes it out of the set. Before the first change to one that is still in there,
        `take` is called with its number, and does so. None may be left when the next mirror is begun.
        """
        assert not self.owed
        self.take_owed = take
        for segment in self.pages_changed:
            page = self.pages.get(segment)
            if page is not None:
                page.changed = False
        self.dirty |= self.pages_changed
        self.owed, self.dirty, self.pages_changed = self.dirty, set(), set()
        return self.owed

    def touch(self, number: int) -> None:
        """Note that a job is about to change, to come or to go: to be said before it does."""
        segment = number // SEGMENT
        if segment in self.owed:
            self.take_owed(segment)
        self.dirty.add(segment)

    def session_page(self, serial: int) -> Page:
        """Give the page of a session."""
        return self._page(-1 - 2 * (serial // PAGE))

    def settings_page(self, serial: int) -> Page:
        """Give the page of a function's settings."""
        return self._page(-2 - 2 * (serial // PAGE))

    def _page(self, segment: int) -> Page:
        page = self.pages.get(segment)
        if page is None:
            page = self.pages[segment] = Page(segment, self)
        return page


def of_sessions(segment: int) -> bool:
    """Tell whether the page with this number is one of sessions."""
    return segment % 2 == 1
