"""What one connection may rely on: order of answers, any split of the bytes, text and binary side by side."""

from tests.harness import Packet, PacketType, TextLine, request_bytes


class TestOrderOfAnswers:
    async def test_answers_come_in_the_order_of_the_requests(self, client, function):
        """Submissions wait for the disk, echoes and text do not: they must not overtake."""
        for number in range(50):
            client.send_job(function, background=True)
            client.send(PacketType.ECHO_REQ, b"%d" % number)
            client.send(PacketType.GET_STATUS, b"H:none:1")
            client.send_bytes(b"verbose\n")
        for number in range(50):
            await client.created()
            assert await client.expect(PacketType.ECHO_RES) == (b"%d" % number,)
            await client.expect(PacketType.STATUS_RES)
            assert (await client.next_line()).startswith(b"OK ")

    async def test_a_request_sees_the_effect_of_those_before_it(self, client, worker, function):
        handle = await client.submit_background(function)
        assert (await worker.take()).handle == handle
        worker.progress(handle, 1, 2)
        worker.send(PacketType.GET_STATUS, handle)
        worker.complete(handle, b"r")
        worker.send(PacketType.GET_STATUS, handle)
        worker.send(PacketType.GRAB_JOB)
        assert await worker.expect(PacketType.STATUS_RES) == (handle, b"1", b"1", b"1", b"2")
        assert await worker.expect(PacketType.STATUS_RES) == (handle, b"0", b"0", b"0", b"0")
        assert await worker.assigned() is None

    async def test_a_submission_is_seen_by_the_questions_that_follow_it(self, client, function):
        client.send_job(function, unique=b"u-" + function, background=True)
        client.send(PacketType.GET_STATUS_UNIQUE, b"u-" + function)
        client.send_bytes(b"status\n")
        await client.created()
        assert await client.expect(PacketType.STATUS_RES_UNIQUE) == (b"u-" + function, b"1", b"0", b"0", b"0", b"0")
        rows = []
        while (row := await client.next_line()) != b".":
            rows.append(row)
        assert function + b"\t1\t0\t0" in rows

    async def test_a_connection_that_registers_and_grabs_in_one_write_gets_the_job(self, client, new_worker, function):
        handle = await client.submit_background(function)
        worker = await new_worker()
        worker.send(PacketType.CAN_DO, function)
        worker.send(PacketType.GRAB_JOB)
        assert (await worker.assigned()).handle == handle

    async def test_one_connection_may_be_client_and_worker_of_the_same_job(self, worker, function):
        worker.send(PacketType.SUBMIT_JOB, function, b"", b"w")
        (handle,) = await worker.expect(PacketType.JOB_CREATED)
        assert (await worker.take()).handle == handle
        worker.complete(handle, b"r")
        assert await worker.expect(PacketType.WORK_COMPLETE) == (handle, b"r")

    async def test_a_thousand_submissions_in_one_write_give_a_thousand_handles(self, client, function):
        for _ in range(1000):
            client.send_job(function, background=True)
        handles = [await client.created() for _ in range(1000)]
        assert len(set(handles)) == 1000
        await client.expect_nothing()

    async def test_two_thousand_echoes_in_one_write_come_back_in_order(self, client):
        for number in range(2000):
            client.send(PacketType.ECHO_REQ, b"%d" % number)
        assert [(await client.expect(PacketType.ECHO_RES))[0] for _ in range(2000)] == [
            b"%d" % number for number in range(2000)
        ]


class TestBytesInPieces:
    async def test_a_packet_may_come_byte_by_byte(self, client, worker, function):
        for byte in request_bytes(PacketType.SUBMIT_JOB_BG, function + b"\0\0workload"):
            client.send_bytes(bytes([byte]))
            await client.drain()
            await worker.expect_nothing()
        handle = await client.created()
        job = await worker.take()
        assert (job.handle, job.workload) == (handle, b"workload")

    async def test_an_echo_of_16_mebibytes_comes_back(self, client):
        data = bytes(range(256)) * (1 << 16)
        client.send(PacketType.ECHO_REQ, data)
        assert await client.expect(PacketType.ECHO_RES, within=30) == (data,)

    async def test_a_line_may_come_in_pieces(self, connect):
        connection = await connect()
        for piece in (b"ver", b"si", b"on\r"):
            connection.send_bytes(piece)
            await connection.drain()
        assert (await connection.line(b"")).startswith(b"OK ")


class TestTextAndBinary:
    async def test_both_may_alternate_even_in_one_write(self, connect):
        connection = await connect()
        echo = request_bytes(PacketType.ECHO_REQ, b"e")
        connection.send_bytes(b"verbose\n" + echo + b"verbose\n" + echo + echo + b"nonsense\n")
        kinds = [await connection.next() for _ in range(6)]
        assert [type(event) for event in kinds] == [TextLine, Packet, TextLine, Packet, Packet, TextLine]

    async def test_a_worker_may_ask_for_the_status_in_between(self, client, worker, function):
        handle = await client.submit(function)
        await worker.take()
        assert function + b"\t1\t1\t1" in await worker.table("status")
        worker.complete(handle, b"r")
        assert await client.completed(handle) == b"r"


class TestTheEndOfAConnection:
    async def test_a_client_that_has_finished_sending_still_gets_its_answers(self, client, function):
        for _ in range(10):
            client.send_job(function, background=True)
        client.finish_sending()
        for _ in range(10):
            await client.created()
        await client.expect_closed()
