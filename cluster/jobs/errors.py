"""What can be wrong with data that the job table is given to read."""


class JobTableError(Exception):
    """The job table cannot go on: the data is not what this version writes."""


class UnreadableProposalError(JobTableError):
    """A log entry holds a format or a command that this version does not know."""


class UnreadableMirrorError(JobTableError):
    """The mirror of the table does not hold what this version writes, or its parts do not fit together."""
