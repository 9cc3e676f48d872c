"""The ways in which a benchmark run ends without a figure."""


class BenchmarkError(Exception):
    """A run that cannot be trusted or could not be made; the message says which and why."""


class ServerFailedError(BenchmarkError):
    """A server under test did not start, died, or answered with an error packet."""


class JobsUnaccountedError(BenchmarkError):
    """A job was lost, run twice, or one came that was never submitted."""
