"""What Prometheus reads: names that dashboards for gearmand know, one series for each function, not without bound."""

import asyncio

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from node.site.metrics import exposition
from tests.node.site.scenery import FORMING, SHORT, STATUS, TABLE


def samples(text: str) -> dict[tuple, float]:
    """Return every sample by its name and its labels' values, in the order of the labels."""
    found: dict[tuple, float] = {}
    for family in parse(text):
        for sample in family.samples:
            key = (sample.name, *(value for _, value in sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


@pytest.fixture
async def scraped(visitor):
    return samples((await visitor.get("/metrics")).text)


class TestTheNamesOfGearmanExporters:
    async def test_are_there_for_each_function(self, scraped):
        assert scraped["gearman_jobs", "resize"] == 10
        assert scraped["gearman_jobs_running", "resize"] == 4
        assert scraped["gearman_jobs_waiting", "resize"] == 6
        assert scraped["gearman_workers", "resize"] == 3

    async def test_stand_a_function_of_any_name(self, scraped):
        assert scraped["gearman_jobs", 'a "quoted"\nname'] == 2

    async def test_say_that_the_server_serves_and_which_it_is(self, scraped):
        assert scraped["gearman_up",] == 1
        assert scraped["gearman_version_info", "9.8.7"] == 1


class TestTheClustersOwn:
    async def test_say_what_raft_does(self, scraped):
        assert scraped["gearmesh_raft_term",] == 7
        assert scraped["gearmesh_raft_is_leader",] == 1
        assert scraped["gearmesh_raft_leader_known",] == 1
        assert scraped["gearmesh_raft_role", "leader"] == 1
        assert scraped["gearmesh_raft_role", "follower"] == 0
        assert scraped["gearmesh_raft_last_index",] == 120
        assert scraped["gearmesh_raft_commit_index",] == 119
        assert scraped["gearmesh_raft_applied_index",] == 118
        assert scraped["gearmesh_raft_leader_changes_total",] == 3
        assert scraped["gearmesh_raft_lag_seconds",] == 0.25

    async def test_say_how_far_each_follower_is_behind(self, scraped):
        assert scraped["gearmesh_raft_follower_lag", "b", "b-00000000"] == 2
        assert scraped["gearmesh_raft_follower_lag", "c", "c-00000000"] == 40
        assert ("gearmesh_raft_follower_lag", "a", "a-00000000") not in scraped

    async def test_say_who_is_there(self, scraped):
        assert scraped["gearmesh_cluster_members", "voter"] == 2
        assert scraped["gearmesh_cluster_members", "learner"] == 1
        assert scraped["gearmesh_cluster_member_up", "a", "a-00000000"] == 1
        assert scraped["gearmesh_cluster_member_up", "c", "c-00000000"] == 0
        assert scraped["gearmesh_node_info", "blue", "f00d", "a", "a-00000000"] == 1

    async def test_say_what_the_node_uses_and_where_its_marks_are(self, visitor, state):
        state.shown = SHORT
        scraped = samples((await visitor.get("/metrics")).text)
        assert scraped["gearmesh_memory_bytes",] == 9_000_000
        assert scraped["gearmesh_memory_limit_bytes",] == 8_000_000
        assert scraped["gearmesh_disk_free_bytes",] == 5000
        assert scraped["gearmesh_disk_free_limit_bytes",] == 2000
        assert scraped["gearmesh_alarm", "b", "b-00000000", "memory"] == 1
        assert scraped["gearmesh_alarm", "b", "b-00000000", "disk"] == 1
        assert scraped["gearmesh_alarm", "a", "a-00000000", "disk"] == 0

    async def test_say_how_much_there_is(self, scraped):
        assert scraped["gearmesh_jobs_accepted_total",] == 345
        assert scraped["gearmesh_jobs",] == 12
        assert scraped["gearmesh_functions",] == 2
        assert scraped["gearmesh_sessions",] == 6
        assert scraped["gearmesh_connections",] == 5

    async def test_say_what_the_process_uses(self, scraped):
        assert scraped["process_resident_memory_bytes",] > 0
        assert scraped["process_open_fds",] > 0
        assert any(name == "gearmesh_build_info" for name, *_ in scraped)
        assert any(name == "python_gc_collections_total" for name, *_ in scraped)


class TestAScrape:
    async def test_of_a_node_without_a_group_has_what_there_is(self, visitor, state):
        state.shown, state.table = FORMING, None
        scraped = samples((await visitor.get("/metrics")).text)
        assert scraped["gearman_up",] == 0
        assert scraped["gearmesh_cluster_members", "voter"] == 0
        assert not any(name.startswith(("gearmesh_raft", "gearman_jobs")) for name, *_ in scraped)

    async def test_is_text_for_whoever_asks_for_nothing_else(self, visitor):
        assert (await visitor.get("/metrics")).headers["Content-Type"].startswith("text/plain; version=0.0.4")

    async def test_is_openmetrics_for_whoever_asks_for_that(self, visitor):
        answer = await visitor.get("/metrics", Accept="application/openmetrics-text; version=1.0.0,text/plain;q=0.5")
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert "gearman_up" in {family.name for family in parse_openmetrics(answer.text)}

    async def test_gives_many_the_same_at_once(self, visitor):
        answers = await asyncio.gather(*(visitor.get("/metrics") for _ in range(20)))
        assert {answer.status for answer in answers} == {200}

    def test_has_help_for_every_name_of_ours(self):
        text, _ = exposition(STATUS, TABLE, "")
        ours = [family for family in parse(text.decode()) if family.name.startswith("gear")]
        assert len(ours) > 20
        assert all(family.documentation and family.type != "untyped" for family in ours)
