"""Submit background jobs until a server takes no more, as clients do whose workers are too slow.

Not for: judging what the server does then.
"""

from protocol import Packet, PacketType
from tests.harness.client import Client
from tests.harness.conditions import eventually
from tests.harness.connection import UnexpectedAnswerError
from tests.harness.worker import Worker

BATCH = 8
"""Jobs that are under way at a time."""


IN_A_ROW = 25
"""Refusals, 0.1 s apart: a node gives back what was freed once a second, and then takes another look."""


async def fill(client: Client, function: bytes, workload: bytes, *, most: int = 10_000) -> tuple[list[bytes], bytes]:
    """Submit until a job is refused; return the handles of those that were taken, and the reason of the refusal.

    Every submit is answered when this returns. Raises AssertionError after so many jobs, or for any other answer.
    """
    taken: list[bytes] = []
    while len(taken) < most:
        for _ in range(BATCH):
            client.send_job(function, workload, background=True)
        refusals = []
        for _ in range(BATCH):
            match await client.next(within=60.0):
                case Packet(PacketType.JOB_CREATED, [handle]):
                    taken.append(handle)
                case Packet(PacketType.ERROR, [b"QUEUE_ERROR", text]):
                    refusals.append(text)
                case other:
                    raise UnexpectedAnswerError(f"expected JOB_CREATED or a refusal, got {other}")
        if refusals:
            return taken, refusals[0]
    raise AssertionError(f"{most} jobs were taken, and none refused")


async def fill_up(client: Client, function: bytes, workload: bytes) -> tuple[list[bytes], bytes]:
    """Submit until nothing more is taken for a while, though what was freed meanwhile is given back; return as `fill`.

    Nor is there room then for anything that comes a moment later.
    """
    taken: list[bytes] = []
    refusals: list[bytes] = []

    async def refused_in_a_row() -> int:
        more, text = await fill(client, function, workload)
        taken.extend(more)
        if more:
            refusals.clear()
        refusals.append(text)
        return len(refusals)

    await eventually(refused_in_a_row, lambda row: row > IN_A_ROW, within=60.0, every=0.1)
    return taken, refusals[-1]


async def refusal(client: Client, function: bytes) -> bytes:
    """Submit a small background job; return the reason why it was refused, or nothing if it was taken."""
    client.send_job(function, background=True)
    match await client.next():
        case Packet(PacketType.JOB_CREATED):
            return b""
        case Packet(PacketType.ERROR, [b"QUEUE_ERROR", text]):
            return text
        case other:
            raise UnexpectedAnswerError(f"expected JOB_CREATED or a refusal, got {other}")


async def until_taken(client: Client, function: bytes, *, within: float = 30.0) -> None:
    """Submit small background jobs until one is taken."""
    await eventually(lambda: refusal(client, function), lambda text: not text, within=within, every=0.1)


async def work_off(worker: Worker, handles: list[bytes]) -> None:
    """Take and complete these jobs, each of which must come once."""
    left = set(handles)
    for _ in handles:
        handle = (await worker.take()).handle
        left.remove(handle)
        worker.complete(handle)
