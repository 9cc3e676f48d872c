"""`status`, `prioritystatus`, `workers`, `show jobs`, `show unique jobs`, `version`, `verbose`, `getpid`."""

import re

import pytest

from tests.harness import PacketType, eventually


@pytest.fixture
async def operator(connect):
    return await connect()


async def rows_of(operator, command, function) -> list[bytes]:
    return [row for row in await operator.table(command) if row.split(b"\t")[0] == function]


async def row_of(operator, command, function) -> bytes:
    (row,) = await rows_of(operator, command, function)
    return row


class TestStatus:
    async def test_status_counts_all_jobs_those_running_and_the_workers(self, client, new_worker, operator, function):
        for _ in range(4):
            await client.submit_background(function)
        assert await row_of(operator, "status", function) == function + b"\t4\t0\t0"
        worker, _ = await new_worker(function), await new_worker(function)
        job = await worker.take()
        await eventually(lambda: row_of(operator, "status", function), lambda row: row == function + b"\t4\t1\t2")
        worker.complete(job.handle)
        await eventually(lambda: row_of(operator, "status", function), lambda row: row == function + b"\t3\t0\t2")

    async def test_prioritystatus_counts_the_queued_jobs_of_each_priority(self, client, new_worker, operator, function):
        for priority, count in (("high", 1), ("normal", 2), ("low", 3)):
            for _ in range(count):
                await client.submit_background(function, priority=priority)
        assert await row_of(operator, "prioritystatus", function) == function + b"\t1\t2\t3\t0"
        worker = await new_worker(function)
        await worker.take()
        await eventually(
            lambda: row_of(operator, "prioritystatus", function), lambda row: row == function + b"\t0\t2\t3\t1"
        )

    async def test_a_connection_that_registers_a_function_twice_counts_once(self, new_worker, operator, function):
        """gearmand counts it twice."""
        await new_worker(function, function)
        await eventually(lambda: row_of(operator, "status", function), lambda row: row == function + b"\t0\t0\t1")

    async def test_a_function_is_forgotten_when_its_worker_has_gone(self, new_worker, operator, function):
        """gearmand lists it until it is dropped, and keeps what it takes."""
        worker = await new_worker(function)
        await eventually(lambda: row_of(operator, "status", function), lambda row: row == function + b"\t0\t0\t1")
        await worker.close()
        await eventually(lambda: rows_of(operator, "status", function), lambda rows: rows == [])

    async def test_a_function_that_was_created_is_listed_after_its_worker_has_gone(
        self, new_worker, operator, function
    ):
        await operator.line(b"create function " + function)
        worker = await new_worker(function)
        await worker.close()
        await eventually(lambda: row_of(operator, "status", function), lambda row: row == function + b"\t0\t0\t0")

    async def test_names_with_spaces_and_bytes_beyond_ascii_are_shown_as_they_are(self, new_worker, operator, function):
        name = function + b" with spaces and gr\xc3\xb6\xc3\x9fe \xff"
        await new_worker(name)
        await eventually(lambda: row_of(operator, "status", name), lambda row: row == name + b"\t0\t0\t1")


class TestWorkers:
    async def test_every_connection_is_listed_with_its_address_identifier_and_functions(
        self, new_worker, operator, function
    ):
        worker = await new_worker(function + b"-m", function + b"-a", function + b"-z")
        worker.send(PacketType.SET_CLIENT_ID, b"id-of-" + function)
        await worker.expect_nothing()

        async def listed() -> list[bytes]:
            return [row for row in await operator.table("workers") if b" id-of-" + function + b" " in row]

        (row,) = await eventually(listed)
        connection, _, functions = row.partition(b" : ")
        assert re.fullmatch(rb"\d+ 127\.0\.0\.1 id-of-" + function, connection)
        assert set(functions.split(b" ")) == {function + b"-m", function + b"-a", function + b"-z"}

    async def test_a_connection_without_identifier_and_functions_is_listed_too(self, operator):
        assert any(re.fullmatch(rb"\d+ 127\.0\.0\.1 - :", row) for row in await operator.table("workers"))

    @pytest.mark.parametrize(("length", "kept"), [(10, 10), (127, 127), (128, 127), (200, 127)])
    async def test_an_identifier_is_kept_up_to_127_bytes(self, new_worker, operator, function, length, kept):
        worker = await new_worker(function)
        worker.send(PacketType.SET_CLIENT_ID, b"i" * length)
        await worker.expect_nothing()

        async def listed() -> list[bytes]:
            return [row.split(b" ")[2] for row in await operator.table("workers") if row.endswith(b" " + function)]

        assert await eventually(listed, lambda rows: rows != [b"-"]) == [b"i" * kept]

    async def test_a_connection_that_has_gone_is_not_listed(self, new_worker, operator, function):
        worker = await new_worker(function)
        await worker.close()

        async def listed() -> list[bytes]:
            return [row for row in await operator.table("workers") if row.endswith(b" " + function)]

        await eventually(listed, lambda rows: not rows)


class TestShowJobs:
    async def test_jobs_are_listed_with_attempts_cancelled_and_background(self, client, new_worker, operator, function):
        background = await client.submit_background(function)
        foreground = await client.submit(function)
        worker = await new_worker(function)
        await worker.take()
        await worker.cut()

        async def listed() -> list[bytes]:
            rows = await operator.table("show jobs")
            return sorted(row for row in rows if row.split(b"\t")[0] in (background, foreground))

        await eventually(
            listed,
            lambda rows: rows == sorted([background + b"\t1\t0\t1", foreground + b"\t0\t0\t0"]),
        )

    async def test_unique_keys_are_listed_one_a_line_and_an_empty_line_for_none(self, client, operator, function):
        keys = [b"unique-%d-of-%b" % (number, function) for number in range(3)]
        for key in keys:
            await client.submit_background(function, unique=key)
        await client.submit_background(function)
        rows = await operator.table("show unique jobs")
        assert sorted(row for row in rows if row.endswith(b"-of-" + function)) == keys
        assert b"" in rows

    async def test_finished_jobs_are_not_listed(self, client, worker, operator, function):
        handle = await client.submit(function, unique=b"unique-of-" + function)
        await worker.take()
        worker.complete(handle)
        await client.completed(handle)
        assert not [row for row in await operator.table("show jobs") if row.startswith(handle + b"\t")]
        assert b"unique-of-" + function not in await operator.table("show unique jobs")


class TestPlainAnswers:
    async def test_getpid_tells_the_process(self, operator, server):
        assert await operator.line("getpid") == b"OK %d" % server.pid

    async def test_version_is_three_numbers(self, operator):
        assert re.fullmatch(rb"OK \d+\.\d+(\.\d+)?\S*", await operator.line("version"))

    async def test_verbose_tells_the_log_level(self, operator):
        assert re.fullmatch(rb"OK [A-Z]+", await operator.line("verbose"))

    async def test_an_answer_of_ok_alone_ends_in_cr_lf_and_one_with_a_value_in_lf(self, operator, function):
        """aiogear reads the answer to `maxqueue` up to CR LF."""
        operator.transcript = bytearray()
        await operator.line(b"maxqueue " + function)
        await operator.line("version")
        assert operator.transcript.startswith(b"OK\r\nOK ")
        assert operator.transcript.endswith(b"\n")
        assert not operator.transcript.endswith(b"\r\n")

    @pytest.mark.parametrize("command", ["shutdown", "shutdown graceful"])
    async def test_shutdown_is_unknown_as_in_gearmand_and_harms_nothing(self, operator, command):
        assert await operator.line(command) == b"ERR UNKNOWN_COMMAND Unknown+server+commandshutdown"
        assert (await operator.line("version")).startswith(b"OK ")

    @pytest.mark.parametrize("command", ["VERSION", "VeRsIoN", "version\r", "version extra words", "version "])
    async def test_case_line_end_and_what_follows_do_not_matter(self, operator, command):
        assert (await operator.line(command)).startswith(b"OK ")

    @pytest.mark.parametrize("line", ["a b c d e f", "a b c d e f g h i j k l"])
    async def test_many_words_are_no_reason_to_close_the_connection(self, operator, line):
        assert await operator.line(line) == b"ERR UNKNOWN_COMMAND Unknown+server+commanda"
