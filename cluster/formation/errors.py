"""What can go wrong with formation's bytes.

Not for: refusals. Who may not join, and why, is text that goes to the one who asked.
"""


class FormationError(Exception):
    """The root of every error this package raises."""


class FormationMessageError(FormationError):
    """A peer's bytes are no message that this version knows. Drop it; the link may stay."""


class FormationRecordError(FormationError):
    """What the disk has of this node's part in the founding of a group cannot be read by this version."""
