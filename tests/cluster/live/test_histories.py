"""What clients of all nodes are told is what one job server could have told them (`tests.histories`).

Every acknowledged submit is answered, or run, by a run that ended after it was sent, whichever node it was sent to and
however the client learned of the end; and status, lists, cancels and refusals agree with what anybody was told before.
"""

import asyncio
import random

import pytest

from tests.harness.cluster_history import Company
from tests.histories.history import QUEUE_FULL, Key
from tests.histories.verdict import judge


class TestHistories:
    @pytest.mark.parametrize("seed", range(3))
    async def test_clients_of_all_nodes_are_told_what_one_server_could_tell(self, cluster, function, seed):
        keys = [Key(function, b"%b-%d" % (function, number)) for number in range(4)]
        async with Company(cluster.nodes, seed) as company:
            for node in range(3):
                await company.worker(node, function)
            clients = [await company.client(f"client{number + 1}", number % 3) for number in range(6)]
            chances = [random.Random(f"{seed} {number}") for number in range(6)]
            await asyncio.gather(
                *(client.live(chance, keys, 40) for client, chance in zip(clients, chances, strict=True))
            )
            await company.settle()
            wrong = judge(company.book.recorder.history())
        assert not wrong, f"{len(wrong)} things are wrong, of which the first:\n{wrong[0]}\nand the last:\n{wrong[-1]}"

    @pytest.mark.parametrize(
        "nodes", [(0,), (0, 2), (1, 0), (1,)], ids=["elsewhere", "elsewhere in turn", "here and elsewhere", "here"]
    )
    async def test_one_client_that_submits_one_key_again_and_again_has_each_submit_run(self, cluster, function, nodes):
        key = Key(function, function)
        async with Company(cluster.nodes, 0) as company:
            await company.worker(1, function)
            client = await company.client("client", *nodes)
            for number in range(60):
                await client.submit(key, background=number % 3 == 2)
            await company.settle()
            wrong = judge(company.book.recorder.history())
        assert not wrong, f"{len(wrong)} things are wrong, of which the first:\n{wrong[0]}\nand the last:\n{wrong[-1]}"

    @pytest.mark.parametrize(
        "nodes", [(0,), (0, 2), (1, 0), (1,)], ids=["elsewhere", "elsewhere in turn", "here and elsewhere", "here"]
    )
    async def test_one_client_that_waits_for_each_result_is_never_refused(self, cluster, function, nodes):
        async with Company(cluster.nodes, 0) as company:
            await (await company.client("operator", 2)).limit(function, 1)
            await company.worker(1, function)
            client = await company.client("client", *nodes)
            answers = []
            for number in range(60):
                answers.append(await client.submit(Key(function, b"%b-%d" % (function, number)), background=False))
                await client.count(function)
            wrong = judge(company.book.recorder.history())
        assert QUEUE_FULL not in answers
        assert not wrong, f"{len(wrong)} things are wrong, of which the first:\n{wrong[0]}\nand the last:\n{wrong[-1]}"
