"""`maxqueue`: a function's queue takes no more jobs of a priority than the operator allows."""

import pytest

from tests.harness import PacketType


@pytest.fixture
async def operator(connect, function):
    """Give an operator's connection, once the function is known: gearmand forgets limits of unknown ones."""
    connection = await connect()
    for name in (function, function + b"-a", function + b"-b", function + b"-c"):
        assert await connection.line(b"create function " + name + b"\r") == b"OK"
    return connection


async def accepted(client, function, priorities) -> list[bool]:
    """Submit a background job of each priority in turn and say which were taken."""
    answers = []
    for priority in priorities:
        client.send_job(function, priority=priority, background=True)
        event = await client.next()
        if event.kind is PacketType.ERROR:
            assert event.args == [b"QUEUE_ERROR", b"Job queue is full"]
        answers.append(event.kind is PacketType.JOB_CREATED)
    return answers


class TestLimits:
    async def test_one_number_limits_every_priority(self, client, operator, function):
        assert await operator.line(b"maxqueue %b 2" % function) == b"OK"
        assert await accepted(client, function, ["normal"] * 4) == [True, True, False, False]
        assert await accepted(client, function, ["high", "low"]) == [False, False]

    async def test_three_numbers_limit_high_normal_and_low_against_the_functions_total(
        self, client, operator, function
    ):
        assert await operator.line(b"maxqueue %b 3 2 1" % function) == b"OK"
        assert await accepted(client, function, ["high", "normal", "low"] * 2) == [
            *(True, True, False),
            *(True, False, False),
        ]

    async def test_a_zero_among_three_leaves_that_priority_unlimited(self, client, operator, function):
        assert await operator.line(b"maxqueue %b 0 1 0" % function) == b"OK"
        assert await accepted(client, function, ["high", "normal", "low"] * 2) == [
            *(True, False, True),
            *(True, False, True),
        ]

    @pytest.mark.parametrize("number", [b" 0", b" -1", b""])
    async def test_zero_less_and_nothing_take_the_limit_off(self, client, operator, function, number):
        assert await operator.line(b"maxqueue %b 1" % function) == b"OK"
        assert await accepted(client, function, ["normal"] * 2) == [True, False]
        assert await operator.line(b"maxqueue " + function + number) == b"OK"
        assert await accepted(client, function, ["normal"] * 3) == [True] * 3

    async def test_a_job_that_joins_another_is_taken_by_a_full_queue(self, client, operator, function):
        assert await operator.line(b"maxqueue %b 1" % function) == b"OK"
        handle = await client.submit_background(function, unique=b"u")
        assert await accepted(client, function, ["normal"]) == [False]
        assert await client.submit(function, unique=b"u") == handle

    async def test_a_foreground_job_is_refused_too(self, client, operator, function):
        assert await operator.line(b"maxqueue %b 1" % function) == b"OK"
        await client.submit(function)
        client.send_job(function)
        assert await client.expect_error(b"QUEUE_ERROR") == b"Job queue is full"

    async def test_a_job_in_hand_counts_until_it_has_ended(self, client, worker, operator, function):
        assert await operator.line(b"maxqueue %b 1" % function) == b"OK"
        handle = await client.submit_background(function)
        assert (await worker.take()).handle == handle
        assert await accepted(client, function, ["normal"]) == [False]
        worker.complete(handle)
        await worker.expect_nothing()
        assert await accepted(client, function, ["normal"]) == [True]

    async def test_other_functions_are_not_limited(self, client, operator, function):
        assert await operator.line(b"maxqueue %b 1" % function) == b"OK"
        assert await accepted(client, function + b"-other", ["normal"] * 3) == [True] * 3

    async def test_a_lost_job_goes_back_into_a_full_queue(self, client, new_worker, operator, function):
        assert await operator.line(b"maxqueue %b 1" % function) == b"OK"
        handle = await client.submit_background(function)
        worker = await new_worker(function)
        await worker.take()
        await worker.cut()
        assert (await (await new_worker(function)).take()).handle == handle

    async def test_a_limit_may_be_set_before_the_first_job(self, client, operator, function):
        """gearmand says OK and forgets it."""
        assert await operator.line(b"maxqueue %b-early 1" % function) == b"OK"
        assert await accepted(client, function + b"-early", ["normal"] * 2) == [True, False]

    @pytest.mark.parametrize("numbers", [b"abc", b"2x", b"1 2 x", b"1 2 3 4"])
    async def test_bad_numbers_are_refused_and_change_nothing(self, client, operator, function, numbers):
        """gearmand reads them as 0 or cuts them short, and closes the connection over four."""
        assert await operator.line(b"maxqueue %b 1" % function) == b"OK"
        assert (await operator.line(b"maxqueue %b %b" % (function, numbers))).startswith(b"ERR INVALID_ARGUMENTS ")
        assert await accepted(client, function, ["normal"] * 2) == [True, False]

    async def test_a_number_over_32_bits_is_a_very_high_limit(self, client, operator, function):
        assert await operator.line(b"maxqueue %b 99999999999" % function) == b"OK"
        assert await accepted(client, function, ["normal"] * 3) == [True] * 3


class TestReadingLimitsBack:
    """gearmand#110: what `maxqueue` has set cannot be read back."""

    async def test_show_maxqueue_lists_the_limits_of_each_priority(self, operator, function):
        await operator.line(b"maxqueue %b-a 5" % function)
        await operator.line(b"maxqueue %b-b 3 2 1" % function)
        await operator.line(b"maxqueue %b-c 0 7 0" % function)
        rows = await operator.table("show maxqueue")
        assert [row for row in rows if row.startswith(function + b"-")] == [
            function + b"-a\t5\t5\t5",
            function + b"-b\t3\t2\t1",
            function + b"-c\t0\t7\t0",
        ]

    async def test_show_maxqueue_of_one_function_lists_that_function(self, operator, function):
        await operator.line(b"maxqueue %b 3 2 1" % function)
        assert await operator.table(b"show maxqueue " + function) == [function + b"\t3\t2\t1"]

    async def test_what_is_read_back_sets_the_same_limits_again(self, operator, function):
        await operator.line(b"maxqueue %b 0 2 1" % function)
        (row,) = await operator.table(b"show maxqueue " + function)
        await operator.line(b"maxqueue " + function)
        await operator.line(b"maxqueue " + row.replace(b"\t", b" "))
        assert await operator.table(b"show maxqueue " + function) == [row]
