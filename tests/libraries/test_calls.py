"""Calls of a library are counted by what the client was told and by what the worker ran."""

import pytest

from tests.harness.cluster import Cluster
from tests.libraries.__main__ import line
from tests.libraries.calls import Count, play
from tests.libraries.library import IN_PYTHON, LIBRARIES, Library


@pytest.fixture(scope="module")
def one_node(tmp_path_factory):
    """Give a cluster of one node; a test uses a function name of its own."""
    with Cluster(tmp_path_factory.mktemp("one-node"), 1) as cluster:
        cluster.nodes[0].spawn()
        cluster.nodes[0].wait_until_it_answers(60.0)
        yield cluster


class TestCount:
    def test_calls_are_right_when_each_was_answered_by_a_run_of_its_own(self):
        assert Count(200, 200, 200, 200).right

    @pytest.mark.parametrize(
        "count",
        [
            Count(200, 199, 199, 199),
            Count(200, 200, 150, 150),
            Count(200, 200, 150, 200),
            Count(200, 200, 200, 201),
            Count(200, 200, 200, 200, "it ended with an error"),
        ],
        ids=["unanswered", "joined", "answered twice", "run twice", "failed"],
    )
    def test_they_are_wrong_when_any_figure_is_another(self, count):
        assert not count.right
        assert "WRONG" in line(LIBRARIES[0], count)


class TestLibrary:
    @pytest.mark.parametrize("library", IN_PYTHON, ids=lambda library: library.name)
    async def test_each_call_on_one_node_is_answered_by_a_run_of_its_own(self, one_node, library):
        assert library.missing() is None
        assert await play(library, one_node, library.program, 20) == Count(20, 20, 20, 20)

    async def test_a_worker_that_ends_at_once_is_reported(self, one_node):
        broken = IN_PYTHON[0]._replace(program="no-such-program.py")
        with pytest.raises(ChildProcessError, match="the worker ended with status 2"):
            await play(broken, one_node, "counted", 1)

    def test_a_library_that_is_not_there_says_how_to_get_it(self):
        absent = Library("Perl", "x.pl", ("no-such-interpreter",), (), "apt-get install perl")
        assert absent.missing() == "there is no no-such-interpreter; apt-get install perl"

    def test_a_library_whose_source_is_not_named_says_so(self, monkeypatch):
        monkeypatch.delenv("NET_GEARMAN", raising=False)
        absent = IN_PYTHON[0]._replace(source="NET_GEARMAN", install="copy it")
        assert absent.missing() == "NET_GEARMAN is not set; copy it"
