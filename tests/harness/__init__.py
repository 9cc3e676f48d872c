"""Drive real server processes and real connections in tests and in benchmarks.

Nothing here knows what a server should answer: that is for the tests to say.
"""

from protocol import Fault, Packet, PacketType, TextLine
from tests.harness import procfs
from tests.harness.client import Client, JobStatus, UniqueStatus
from tests.harness.conditions import eventually
from tests.harness.connection import PATIENCE, Closed, Connection, Event, UnexpectedAnswerError, request_bytes
from tests.harness.server_process import GEARMAND, REPOSITORY, ServerDiedError, ServerProcess, running_servers
from tests.harness.worker import Assignment, Worker

__all__ = [
    "GEARMAND",
    "PATIENCE",
    "REPOSITORY",
    "Assignment",
    "Client",
    "Closed",
    "Connection",
    "Event",
    "Fault",
    "JobStatus",
    "Packet",
    "PacketType",
    "ServerDiedError",
    "ServerProcess",
    "TextLine",
    "UnexpectedAnswerError",
    "UniqueStatus",
    "Worker",
    "eventually",
    "procfs",
    "request_bytes",
    "running_servers",
]
