"""What gearmand 1.1.20 answered, byte for byte, and what gearmesh answers to the same bytes.

`recordings/*.txt` hold exchanges, each under a `##` title:

    > b'...'      sent, one write for each line; bytes may be repeated (b'x' * 5000) and added up
    < ...         gearmand's answer, one line for each packet or run of text; none: it said nothing
    = open        the connection afterwards, or `closed`
    ! ...         why gearmesh differs on purpose, if it does; only then follow
    ~ ...         gearmesh's answer, and
    ~= open       the connection afterwards

`<RUN>` stands for six letters, `<HANDLE>` for a handle, `<VERSION>`, `<PID>`, `<LEVEL>` and `<FD>` for what they say.
"""

import ast
import re
import struct
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness import Connection, PacketType, ServerProcess, UnexpectedAnswerError, request_bytes

RECORDINGS = Path(__file__).parent / "recordings"
RUN = b"abcdef"
NOBODYS_HANDLE = b"H:nowhere:1"
PATTERNS = {
    "<HANDLE>": r"[^'\\]{3,63}",
    "<VERSION>": r"[0-9.]+\S*",
    "<PID>": r"\d+",
    "<LEVEL>": r"[A-Z]+",
    "<FD>": r"\d+",
    "<RUN>": RUN.decode(),
}


class Exchange(NamedTuple):
    """One recorded exchange, with the answer that gearmesh is to give."""

    title: str
    sent: list[bytes]
    answers: list[str]
    state: str


def evaluate(expression: str) -> bytes:
    """Return the bytes of a literal, or of a product or sum of such."""

    def value(node: ast.expr) -> bytes | int:
        match node:
            case ast.Constant(bytes() | int() as constant):
                return constant
            case ast.BinOp(left, ast.Mult(), right):
                return value(left) * value(right)
            case ast.BinOp(left, ast.Add(), right):
                return value(left) + value(right)
        raise ValueError(f"not bytes: {expression}")

    result = value(ast.parse(expression, mode="eval").body)
    assert isinstance(result, bytes)
    return result.replace(b"<RUN>", RUN).replace(b"<HANDLE>", NOBODYS_HANDLE)


def read(name: str) -> list[Exchange]:
    """Return the exchanges of one recording."""
    exchanges = []
    for part in (RECORDINGS / name).read_text().split("\n## ")[1:]:
        title, *lines = part.strip().split("\n")
        marked: dict[str, list[str]] = {mark: [] for mark in ("#", ">", "<", "=", "!", "~", "~=")}
        for line in lines:
            mark, _, text = line.partition(" ")
            marked[mark].append(text)
        differs = bool(marked["!"])
        assert differs == bool(marked["~="]), f"{title}: a difference needs its reason, and a reason its difference"
        exchanges.append(
            Exchange(
                title,
                [evaluate(expression) for expression in marked[">"]],
                marked["~"] if differs else marked["<"],
                *(marked["~="] if differs else marked["="]),
            )
        )
    return exchanges


def shown(data: bytes) -> list[str]:
    """Return an answer in the form in which the recordings have it."""
    answers = []
    while data:
        if data[0]:
            text = re.match(rb"([^\0\n][^\n]*\n)+|.+", data, re.DOTALL)
            assert text is not None
            answers.append(repr(text[0]))
            data = data[len(text[0]) :]
        else:
            magic, number, size = struct.unpack_from(">4sII", data)
            assert magic == b"\0RES"
            answers.append(f"{PacketType(number).name} {data[12 : 12 + size]!r}")
            data = data[12 + size :]
    return answers


async def replay(connection: Connection, exchange: Exchange) -> tuple[list[str], str]:
    """Send what was sent then; return what is answered, and whether the connection is open afterwards."""
    connection.transcript = bytearray()
    for data in exchange.sent:
        connection.send_bytes(data)
        await connection.drain()
    try:
        await connection.until_echo()
    except UnexpectedAnswerError:
        await connection.expect_closed()
        return shown(bytes(connection.transcript)), "closed"
    *answers, _ = shown(bytes(connection.transcript))
    return answers, "open"


def agrees(actual: list[str], expected: list[str]) -> bool:
    """Compare answers, letting the placeholders stand for what they may."""

    def pattern(answer: str) -> str:
        escaped = re.escape(answer)
        for placeholder, stands_for in PATTERNS.items():
            escaped = escaped.replace(re.escape(placeholder), stands_for)
        return escaped

    return len(actual) == len(expected) and all(
        re.fullmatch(pattern(answer), line) for answer, line in zip(expected, actual, strict=True)
    )


class TestBinaryRecording:
    @pytest.mark.parametrize("exchange", read("binary.txt"), ids=lambda exchange: exchange.title)
    async def test_the_same_bytes_get_the_recorded_answer_or_a_better_one(self, connect, exchange):
        answers, state = await replay(await connect(), exchange)
        assert agrees(answers, exchange.answers), f"expected {exchange.answers}, got {answers}"
        assert state == exchange.state


class TestTextRecording:
    """A story: what one exchange creates is there in the next."""

    @pytest.fixture
    def server(self, start_server) -> ServerProcess:
        return start_server()

    async def test_the_same_lines_get_the_recorded_answers_or_better_ones(self, server):
        for exchange in read("text.txt"):
            async with await Connection.open(server.port) as connection:
                answers, state = await replay(connection, exchange)
            assert agrees(answers, exchange.answers), f"{exchange.title}: {exchange.answers}, got {answers}"
            assert state == exchange.state, exchange.title


class TestRecordingOfAJobInHand:
    """A client has submitted a job and a worker holds it; the worker, or a stranger, then sends what was sent."""

    @pytest.mark.parametrize("exchange", read("held.txt"), ids=lambda exchange: exchange.title)
    async def test_worker_client_and_status_see_the_recorded_outcome_or_a_better_one(
        self, new_client, new_worker, function, exchange
    ):
        client, worker, stranger = await new_client(), await new_worker(function), await new_worker(function)
        if "option off" not in exchange.title:
            await client.want_exceptions()
        handle = await client.submit(function)
        assert (await worker.take()).handle == handle
        sender = stranger if exchange.title.startswith("not the owner") else worker
        sender.transcript, client.transcript = bytearray(), bytearray()
        for data in exchange.sent:
            number, body = struct.unpack_from(">I", data, 4)[0], data[12:].replace(NOBODYS_HANDLE, handle)
            sender.send_body(number, body)
        outcome = []
        for name, connection in (("worker", sender), ("client", client)):
            await connection.until_echo()
            *answers, _ = shown(bytes(connection.transcript))
            outcome += [f"{name} gets: {answer}" for answer in answers]
        outcome.append("status: {:d} {:d} {} {}".format(*await client.status(handle)))
        outcome = [line.replace(handle.decode(), "<HANDLE>") for line in outcome]
        assert outcome == exchange.answers


class TestBytesOneByOne:
    @pytest.mark.parametrize(
        ("data", "answer"),
        [
            (request_bytes(PacketType.ECHO_REQ, b"byte by byte"), "ECHO_RES b'byte by byte'"),
            (request_bytes(PacketType.WORK_STATUS, NOBODYS_HANDLE + b"\x001\x002"), "ERROR b'JOB_NOT_FOUND\\x00"),
            (b"version\n", "b'OK "),
        ],
        ids=["ECHO_REQ", "WORK_STATUS", "version"],
    )
    async def test_an_exchange_does_not_depend_on_how_its_bytes_are_split(self, connect, data, answer):
        connection = await connect()
        connection.transcript = bytearray()
        for byte in data:
            connection.send_bytes(bytes([byte]))
            await connection.drain()
        await connection.until_echo()
        (first, _) = shown(bytes(connection.transcript))
        assert first.startswith(answer)
