"""The job table in numbers, as far as its functions go."""

import asyncio

from cluster.jobs import Batch, Can, CreateFunction, JobTable, NodeUp, SessionOpen, Submit, propose
from node.site.figures import OTHERS, read_table


def table_after(*commands) -> JobTable:
    table = JobTable()
    table.apply(propose(1000, [Batch("n", 1, 1, [NodeUp(b"H:n", -1), SessionOpen(1, "peer"), *commands])]))
    return table


def submit(function: bytes) -> Submit:
    return Submit(1, function, b"", b"work", priority=1, background=True)


class TestFigures:
    async def test_are_the_tables_counters(self):
        table = table_after(Can(1, b"f", 0), CreateFunction(1, b"g"), submit(b"g"), submit(b"g"))
        figures = await read_table(table)
        assert (figures.jobs, figures.created, figures.sessions, figures.functions) == (2, 2, 1, 2)
        by_function = {line.function: (line.jobs, line.running, line.workers) for line in figures.by_function}
        assert by_function == {"f": (0, 0, 1), "g": (2, 0, 0)}

    async def test_sum_what_gets_no_line_of_its_own(self):
        table = table_after(*(submit(b"f%d" % number) for number in range(10)))
        figures = await read_table(table, most=3)
        assert [(line.function, line.jobs) for line in figures.by_function] == [
            ("f0", 1),
            ("f1", 1),
            ("f2", 1),
            (OTHERS, 7),
        ]
        assert figures.functions == 10

    async def test_have_one_line_for_a_function_named_like_the_sum(self):
        table = table_after(submit(OTHERS.encode()), submit(b"f"), submit(b"g"))
        figures = await read_table(table, most=2)
        assert [(line.function, line.jobs) for line in figures.by_function] == [(OTHERS, 2), ("f", 1)]

    async def test_have_one_line_for_names_that_look_the_same(self):
        table = table_after(submit(b"\xff"), submit(rb"\xff"))
        (line,) = (await read_table(table)).by_function
        assert (line.function, line.jobs) == (r"\xff", 2)

    async def test_of_very_many_functions_leave_turns_to_others(self):
        table = table_after(*(CreateFunction(1, b"f%d" % number) for number in range(10_000)))
        reading = asyncio.ensure_future(read_table(table))
        turns = 0
        while not reading.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 5
        assert (await reading).functions == 10_000
        assert len((await reading).by_function) == 1001
