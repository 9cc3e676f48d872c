"""Calls of the client libraries that people use, against a cluster: `python -m tests.libraries --help`."""
