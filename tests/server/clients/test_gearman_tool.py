"""The `gearman` command-line tool (libgearman) as worker and as client."""

import pytest

from tests.harness import PacketType, eventually


@pytest.fixture
def name(function) -> str:
    return function.decode()


class TestGearmanTool:
    def test_a_worker_that_counts_lines_serves_a_client(self, gearman, name):
        gearman.start("-w", "-f", name, "--", "wc", "-l")
        assert gearman("-f", name, stdin=b"one\ntwo\nthree\n").strip() == b"3"

    def test_data_pass_through_unchanged(self, gearman, name):
        gearman.start("-w", "-f", name, "--", "cat")
        # The tool writes all of it to `cat` before it reads: more than a pipe holds would stop both.
        data = bytes(range(256)) * 200
        assert gearman("-f", name, stdin=data) == data

    def test_an_empty_input_gives_an_empty_output(self, gearman, name):
        gearman.start("-w", "-f", name, "--", "cat")
        assert gearman("-f", name, "-s") == b""

    def test_a_worker_without_a_command_prints_its_jobs(self, gearman, name):
        worker = gearman.start("-w", "-c", "1", "-f", name)
        assert gearman("-f", name, "some words") == b""
        assert worker.communicate(timeout=10)[0] == b"some words"

    @pytest.mark.parametrize(("flag", "expected"), [("-n", b"a\nb\nc\n"), ("-N", b"abc")])
    def test_one_job_for_each_line(self, gearman, name, flag, expected):
        gearman.start("-w", "-f", name, "--", "cat")
        assert gearman("-f", name, flag, stdin=b"a\nb\nc\n") == expected

    def test_a_worker_may_send_its_output_line_by_line(self, gearman, name):
        gearman.start("-w", "-n", "-f", name, "--", "cat")
        # The tool sends each line as data and then what it has sent so far as the result.
        assert gearman("-f", name, stdin=b"a\nb\nc\n").endswith(b"a\nb\nc\n")

    @pytest.mark.parametrize("priority", ["-I", "-L"])
    def test_other_priorities(self, gearman, name, priority):
        gearman.start("-w", "-f", name, "--", "cat")
        assert gearman("-f", name, priority, "urgent or not") == b"urgent or not"

    def test_the_output_may_carry_the_functions_name(self, gearman, name):
        gearman.start("-w", "-f", name, "--", "cat")
        assert gearman("-f", name, "-P", "x") == name.encode() + b": x"

    def test_one_client_may_use_several_functions(self, gearman, name):
        gearman.start("-w", "-f", name + "-a", "-f", name + "-b", "--", "cat")
        assert gearman("-f", name + "-a", "-f", name + "-b", "x") == b"xx"

    def test_a_worker_may_end_after_a_number_of_jobs(self, gearman, name):
        worker = gearman.start("-w", "-c", "2", "-f", name, "--", "cat")
        assert gearman("-f", name, "-n", stdin=b"a\nb\n") == b"a\nb\n"
        assert worker.wait(timeout=10) == 0

    def test_a_job_whose_command_fails_is_a_failure_to_the_client(self, gearman, name):
        gearman.start("-w", "-f", name, "--", "false")
        outcome = gearman.run("-f", name, "x")
        assert outcome.returncode != 0
        assert b"Job failed" in outcome.stdout + outcome.stderr

    def test_a_client_gives_up_after_its_timeout(self, gearman, name):
        assert b"timeout reached" in gearman.run("-t", "300", "-f", name, "x").stderr

    async def test_a_background_job_is_queued_and_run_by_a_later_worker(self, gearman, client, name, function):
        gearman("-b", "-f", name, "-u", "unique-" + name, stdin=b"in the background")
        assert (await client.status_of_unique(b"unique-" + function)).known
        gearman.start("-w", "-f", name, "--", "cat")

        async def known() -> bool:
            return (await client.status_of_unique(b"unique-" + function)).known

        await eventually(known, lambda still: not still)

    async def test_background_jobs_by_lines_are_one_job_each(self, gearman, new_worker, name, function):
        gearman("-b", "-n", "-f", name, stdin=b"1\n2\n3\n")
        worker = await new_worker(function)
        assert [(await worker.take()).workload for _ in range(3)] == [b"1\n", b"2\n", b"3\n"]

    async def test_the_tools_worker_serves_our_client_with_and_without_a_result(self, gearman, client, name, function):
        gearman.start("-w", "-f", name, "--", "cat")
        for workload in (b"x", b"", b"\0" * 10):
            handle = await client.submit(function, workload)
            parts = []
            while (event := await client.next()).kind is PacketType.WORK_DATA:
                parts.append(event.args[1])
            assert event.kind is PacketType.WORK_COMPLETE
            assert event.args[0] == handle
            assert b"".join([*parts, event.args[1]]) == workload
