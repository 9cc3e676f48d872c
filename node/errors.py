"""The errors that end a node, worded for the person who started it.

Not for: what a Gearman peer does wrong (`protocol` answers that with an ERROR packet), nor the disk's errors
(`cluster.storage.StorageError`).
"""

from collections.abc import Sequence


class GearmeshError(Exception):
    """The root of the node's errors. Its text is the whole message: what is wrong, where, and what to do."""


class ConfigurationError(GearmeshError):
    """One or more settings cannot be used."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Hold every problem that was found, so that all of them are mended in one go.

        Each names the place of the fault as its writer knows it: a flag, a variable, or a file and its key.
        """
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class ListenError(GearmeshError):
    """An address cannot be listened on: taken, not this host's, or not allowed."""


class LogFileError(GearmeshError):
    """The log file cannot be opened."""


class PidFileError(GearmeshError):
    """The pid file cannot be written, or belongs to a server that is running."""


class PrivilegeError(GearmeshError):
    """The process cannot become the user it was told to be, or cannot have the descriptors it was told to have."""


class RecoveryError(GearmeshError):
    """The data directory cannot be used, or what it holds cannot be read."""


class UnknownEntryError(GearmeshError):
    """The log holds a kind of entry that this version does not know. It is never skipped: the node stops."""
