"""Whatever a peer sends: the fault is named, the connection is closed where the stream is lost, nobody else notices."""

import random

import pytest

from tests.harness import Client, Packet, PacketType, TextLine, Worker, procfs, request_bytes

RESPONSE = b"\0RES"


@pytest.fixture(autouse=True)
async def healthy(new_client, new_worker, function):
    """See to it that a client and a worker which were there before are served afterwards as if nothing had been."""
    client: Client = await new_client()
    worker: Worker = await new_worker(function)
    worker.sleep()
    await worker.expect_nothing()
    yield
    handle = await client.submit(function, b"still here")
    await worker.woken()
    assert (await worker.take()).handle == handle
    worker.complete(handle, b"yes")
    assert await client.completed(handle) == b"yes"


class TestALostStream:
    """The start of the next packet is unknown: ERROR, then the end."""

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            pytest.param(b"\0RET\0\0\0\x10\0\0\0\1x", b"INVALID_MAGIC", id="an unknown magic"),
            pytest.param(b"\0req\0\0\0\x10\0\0\0\1x", b"INVALID_MAGIC", id="a magic in lower case"),
            pytest.param(b"\0\0\0\0\0\0\0\x10\0\0\0\1x", b"INVALID_MAGIC", id="four NULs"),
            pytest.param(request_bytes(0, b"x"), b"INVALID_COMMAND", id="type 0"),
            pytest.param(request_bytes(43, b"x"), b"INVALID_COMMAND", id="type 43"),
            pytest.param(request_bytes(100, b"x"), b"INVALID_COMMAND", id="type 100"),
            pytest.param(request_bytes(2**31 - 1, b"x"), b"INVALID_COMMAND", id="type 2147483647"),
            pytest.param(request_bytes(2**32 - 1, b"x"), b"INVALID_COMMAND", id="type 4294967295 (ends gearmand)"),
            pytest.param(b"\0REQ\0\0\0\x10\xff\xff\xff\xffx", b"ARGUMENT_TOO_LARGE", id="an echo of 4 GiB"),
            pytest.param(b"\0REQ\0\0\0\x07\x80\0\0\0f\0\0x", b"ARGUMENT_TOO_LARGE", id="a job of 2 GiB"),
        ],
    )
    async def test_the_fault_is_named_and_the_connection_closed(self, connect, data, code):
        connection = await connect()
        connection.send_bytes(data)
        await connection.expect_error(code)
        await connection.expect_closed()

    async def test_what_came_before_is_answered_first_and_what_comes_after_is_not(self, connect):
        connection = await connect()
        echo = request_bytes(PacketType.ECHO_REQ, b"before")
        connection.send_bytes(echo + request_bytes(43, b"x") + echo)
        assert await connection.expect(PacketType.ECHO_RES) == (b"before",)
        await connection.expect_error(b"INVALID_COMMAND")
        await connection.expect_closed()

    async def test_a_line_that_does_not_end_is_refused(self, connect):
        connection = await connect()
        connection.send_bytes(b"status " * 20_000)
        assert (await connection.next_line()).startswith(b"ERR ARGUMENT_TOO_LARGE")
        await connection.expect_closed()

    async def test_jobs_submitted_before_the_fault_are_kept(self, connect, new_worker, function):
        connection = await connect()
        body = function + b"-kept\0\0w"
        connection.send_bytes(request_bytes(PacketType.SUBMIT_JOB_BG, body) + b"\0BAD\0\0\0\x10\0\0\0\0")
        (handle,) = await connection.expect(PacketType.JOB_CREATED)
        await connection.expect_error(b"INVALID_MAGIC")
        await connection.expect_closed()
        assert (await (await new_worker(function + b"-kept")).take()).handle == handle


class TestABadPacketAmongGoodOnes:
    """The next packet's start is known: ERROR, and the connection goes on."""

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            pytest.param(RESPONSE + b"\0\0\0\x10\0\0\0\1x", b"INVALID_MAGIC", id="a response to the server"),
            pytest.param(RESPONSE + b"\0\0\0\x07\0\0\0\4f\0\0x", b"INVALID_MAGIC", id="a job as a response"),
            pytest.param(request_bytes(5, b"x"), b"INVALID_COMMAND", id="type 5"),
            *[
                pytest.param(request_bytes(kind, b"H\0f\0u\0r\0d\0" + b"x"), b"INVALID_COMMAND", id=kind.name)
                for kind in (
                    PacketType.NOOP,
                    PacketType.JOB_CREATED,
                    PacketType.NO_JOB,
                    PacketType.JOB_ASSIGN,
                    PacketType.JOB_ASSIGN_UNIQ,
                    PacketType.JOB_ASSIGN_ALL,
                    PacketType.ECHO_RES,
                    PacketType.ERROR,
                    PacketType.STATUS_RES,
                    PacketType.STATUS_RES_UNIQUE,
                    PacketType.OPTION_RES,
                )
            ],
            pytest.param(request_bytes(PacketType.ALL_YOURS), b"INVALID_COMMAND", id="ALL_YOURS"),
            pytest.param(
                request_bytes(PacketType.SUBMIT_JOB_SCHED, b"f\0\x001\x002\x003\x004\x005\0x"),
                b"INVALID_COMMAND",
                id="SUBMIT_JOB_SCHED",
            ),
            *[
                pytest.param(request_bytes(kind, body), b"INVALID_ARGUMENTS", id=f"{kind.name} {body!r}")
                for kind, body in (
                    (PacketType.SUBMIT_JOB, b""),
                    (PacketType.SUBMIT_JOB, b"name"),
                    (PacketType.SUBMIT_JOB, b"name\0unique"),
                    (PacketType.SUBMIT_JOB_BG, b"name\0unique"),
                    (PacketType.SUBMIT_JOB_LOW_BG, b"name"),
                    (PacketType.SUBMIT_JOB_EPOCH, b"name\0unique\x00123"),
                    (PacketType.SUBMIT_REDUCE_JOB, b"name\0unique\0reducer\0data"),
                    (PacketType.WORK_STATUS, b"H:x:1\x001"),
                )
            ],
            pytest.param(
                request_bytes(PacketType.SUBMIT_JOB, b"name\0" + b"u" * 65 + b"\0x"),
                b"ARGUMENT_TOO_LARGE",
                id="a unique key of 65 bytes",
            ),
            pytest.param(
                request_bytes(PacketType.SUBMIT_JOB_BG, b"name\0" + b"u" * 20_000 + b"\0x"),
                b"ARGUMENT_TOO_LARGE",
                id="a unique key of 20,000 bytes",
            ),
            pytest.param(
                request_bytes(PacketType.SUBMIT_JOB, b"f" * 513 + b"\0\0x"),
                b"ARGUMENT_TOO_LARGE",
                id="a function of 513 bytes",
            ),
            pytest.param(
                request_bytes(PacketType.CAN_DO, b"f" * 20_000), b"ARGUMENT_TOO_LARGE", id="CAN_DO of 20,000 bytes"
            ),
            pytest.param(
                request_bytes(PacketType.GET_STATUS, b"h" * 64), b"ARGUMENT_TOO_LARGE", id="a handle of 64 bytes"
            ),
            pytest.param(
                request_bytes(PacketType.WORK_COMPLETE, b"h" * 500 + b"\0r"),
                b"ARGUMENT_TOO_LARGE",
                id="a result under a handle of 500 bytes",
            ),
            pytest.param(
                request_bytes(PacketType.GET_STATUS_UNIQUE, b"u" * 65), b"ARGUMENT_TOO_LARGE", id="status of a long key"
            ),
            pytest.param(request_bytes(PacketType.OPTION_REQ, b""), b"UNKNOWN_OPTION", id="an empty option"),
            pytest.param(request_bytes(PacketType.OPTION_REQ, b"o" * 100), b"UNKNOWN_OPTION", id="an unknown option"),
            pytest.param(
                request_bytes(PacketType.CAN_DO, b"gol\0den"), b"INVALID_ARGUMENTS", id="a NUL inside a function name"
            ),
        ],
    )
    async def test_the_fault_is_named_and_the_next_packet_answered(self, connect, data, code):
        connection = await connect()
        connection.send_bytes(data)
        text = await connection.expect_error(code)
        assert text
        await connection.expect_nothing()

    @pytest.mark.parametrize("kind", [PacketType.GRAB_JOB, PacketType.PRE_SLEEP, PacketType.RESET_ABILITIES])
    async def test_a_body_where_none_belongs_is_passed_over(self, connect, kind):
        connection = await connect()
        connection.send_body(kind, b"junk")
        answers = await connection.until_echo()
        assert answers == ([Packet(PacketType.NO_JOB, [])] if kind is PacketType.GRAB_JOB else [])

    async def test_names_of_512_bytes_and_keys_of_64_are_not_too_long(self, connect):
        connection = await connect()
        connection.send_body(PacketType.SUBMIT_JOB_BG, b"f" * 512 + b"\0" + b"u" * 64 + b"\0x")
        await connection.expect(PacketType.JOB_CREATED)

    @pytest.mark.parametrize("time", [b"soon", b"", b"-5", b"9" * 30, b"1e3", b"0x10"], ids=repr)
    async def test_a_time_that_is_none_never_loses_a_job_in_silence(self, connect, function, time):
        connection = await connect()
        connection.send_body(PacketType.SUBMIT_JOB_EPOCH, function + b"-epoch\0\0" + time + b"\0x")
        (answer,) = await connection.until_echo()
        assert answer.kind in (PacketType.JOB_CREATED, PacketType.ERROR)

    @pytest.mark.parametrize(
        ("numerator", "denominator"),
        [
            (b"half", b"whole"),
            (b"0.5", b"1.0"),
            (b"5000000000", b"6000000000"),
            (b"-1", b"-2"),
            (b"", b""),
            (b"1", b"9" * 30),
        ],
        ids=repr,
    )
    async def test_progress_that_is_no_number_is_passed_on_as_it_is(
        self, client, new_worker, function, numerator, denominator
    ):
        worker = await new_worker(function + b"-progress")
        handle = await client.submit(function + b"-progress")
        await worker.take()
        worker.send(PacketType.WORK_STATUS, handle, numerator, denominator)
        worker.complete(handle, b"r")
        assert await client.expect(PacketType.WORK_STATUS) == (handle, numerator, denominator)
        assert await client.completed(handle) == b"r"


class TestTextCommands:
    @pytest.mark.parametrize(
        ("line", "answer"),
        [
            (b"", b"ERR UNKNOWN_COMMAND Unknown+server+command"),
            (b"   ", b"ERR UNKNOWN_COMMAND Unknown+server+command"),
            (b" version", b"ERR UNKNOWN_COMMAND Unknown+server+command"),
            (b"nonsense a b", b"ERR UNKNOWN_COMMAND Unknown+server+commandnonsense"),
            (b"\xff\xfe\xfd", b"ERR UNKNOWN_COMMAND Unknown+server+command\xff\xfe\xfd"),
            (b"ver\0sion", b"ERR UNKNOWN_COMMAND Unknown+server+commandver"),
            (b"%s%n%d", b"ERR UNKNOWN_COMMAND Unknown+server+command%s%n%d"),
            (b"show", b"ERR UNKNOWN_COMMAND Unknown+server+commandshow"),
            (b"show nonsense", b"ERR UNKNOWN_SHOW_ARGUMENTS"),
            (b"cancel job", b"ERR UNKNOWN_COMMAND Unknown+server+commandcancel"),
            (b"cancel job " + b"h" * 500, b"ERR UNKNOWN_JOB"),
            (b"cancel nonsense x", b"ERR UNKNOWN_ERROR"),
            (
                b"maxqueue",
                b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+maxqueue",
            ),
        ],
        ids=repr,
    )
    async def test_a_line_that_means_nothing_is_answered_by_what_is_wrong_with_it(self, connect, line, answer):
        connection = await connect()
        assert await connection.line(line) == answer
        await connection.expect_nothing()

    async def test_an_unknown_word_of_20_000_bytes_is_told_back(self, connect):
        """gearmand closes the connection."""
        connection = await connect()
        assert await connection.line(b"w" * 20_000) == b"ERR UNKNOWN_COMMAND Unknown+server+command" + b"w" * 20_000

    @pytest.mark.parametrize("command", [b"create function ", b"maxqueue "])
    async def test_a_name_longer_than_512_bytes_is_refused(self, connect, command):
        connection = await connect()
        assert (await connection.line(command + b"f" * 513)).startswith(b"ERR ARGUMENT_TOO_LARGE")
        await connection.expect_nothing()

    async def test_an_http_request_gets_a_line_for_each_of_its_lines(self, connect):
        connection = await connect()
        connection.send_bytes(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        for _ in range(3):
            assert (await connection.next_line()).startswith(b"ERR UNKNOWN_COMMAND ")

    async def test_a_function_name_with_a_line_end_does_not_break_the_tables(self, connect, new_worker, function):
        await new_worker(function + b"-x\ny\t1\t1\t1\n.\nz")
        operator = await connect()
        for command in ("status", "prioritystatus", "workers"):
            rows = await operator.table(command)
            assert not [row for row in rows if row.startswith((b"y\t", b"z"))]
            await operator.expect_nothing()


class TestGarbage:
    @pytest.fixture
    def server(self, start_server):
        """Give a server of its own: random bytes may well submit jobs, whose keys and names other tests would list."""
        return start_server()

    @pytest.mark.parametrize("seed", range(4))
    async def test_random_bytes_give_errors_or_the_end_and_nothing_else(self, connect, seed):
        generator = random.Random(seed)
        for _ in range(40):
            connection = await connect()
            prefix = generator.choice([b"", b"\0REQ", b"\0REQ\0\0\0", b"\0RES\0\0\0\x07", b"\0"])
            connection.send_bytes(prefix + generator.randbytes(generator.randrange(1, 300)) + b"\n")
            connection.finish_sending()
            for event in await connection.until_closed():
                if isinstance(event, Packet):
                    assert event.kind in (
                        *(PacketType.ERROR, PacketType.JOB_CREATED, PacketType.NO_JOB, PacketType.ECHO_RES),
                        *(PacketType.STATUS_RES, PacketType.STATUS_RES_UNIQUE, PacketType.OPTION_RES),
                    )
                else:
                    assert isinstance(event, TextLine)

    @pytest.mark.parametrize("seed", range(4))
    async def test_requests_of_every_type_with_random_bodies_leave_the_connection_usable(self, connect, seed):
        generator = random.Random(seed)
        connection = await connect()
        for _ in range(200):
            kind = generator.choice(list(PacketType))
            body = b"\0".join(generator.randbytes(generator.randrange(12)) for _ in range(generator.randrange(7)))
            connection.send_body(kind, b"garbage-" + body)
        await connection.until_echo()

    async def test_a_connection_cut_in_the_middle_of_a_packet_leaves_no_job(self, connect, function):
        for cut_at in (1, 3, 4, 8, 11, 12, 13, 30):
            connection = await connect()
            packet = request_bytes(PacketType.SUBMIT_JOB_BG, function + b"-half\0\0" + b"w" * 20)
            connection.send_bytes(packet[:cut_at])
            await connection.drain()
            await connection.cut()
        rows = await (await connect()).table("status")
        assert not [row for row in rows if row.startswith(function + b"-half")]


class TestHalfPacketsAndSilence:
    async def test_a_packet_that_is_announced_and_never_sent_costs_next_to_nothing(self, server, connect, client):
        before = procfs.resident_bytes(server.pid)
        for _ in range(100):
            connection = await connect()
            connection.send_bytes(b"\0REQ\0\0\0\x07\x03\xff\xff\xffhalf a")
            await connection.drain()
        await client.expect_nothing()
        assert procfs.resident_bytes(server.pid) - before < 20_000_000

    async def test_the_rest_may_come_whenever_it_will(self, connect, client):
        connection = await connect()
        connection.send_bytes(b"\0REQ\0\0\0\x10\0\0")
        await connection.drain()
        await client.expect_nothing()
        connection.send_bytes(b"\0\4late")
        assert await connection.expect(PacketType.ECHO_RES) == (b"late",)


class TestResetConnections:
    async def test_clients_that_reset_with_answers_on_the_way_harm_nobody(self, connect, function):
        for _ in range(30):
            connection = await connect()
            for _ in range(50):
                connection.send(PacketType.SUBMIT_JOB, function + b"-reset", b"", b"x" * 1000)
                connection.send(PacketType.ECHO_REQ, b"x" * 1000)
            await connection.drain()
            await connection.cut()
