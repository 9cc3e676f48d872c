"""What one job server may tell its clients about one unique key. Each history is one that is, or is not, its own."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.histories.history import FAILED, CancelJob, ClientLeaves, Key, RunFails, SubmitJob, UnaskedError, by_subject
from tests.histories.linearizability import check
from tests.histories.model import JobServer
from tests.histories.story import KEY, Play, Story
from tests.histories.verdict import explain, judge


@pytest.fixture
def story():
    return Story()


def impossible(story):
    """Give the call for whose answer there is no place, if there is one."""
    for calls in by_subject(story.history()).values():
        found = check(calls, JobServer())
        if found is not None:
            return found.impossible
    return None


class TestSubmits:
    def test_a_submit_joins_the_job_of_its_key_and_all_are_told_its_end(self, story):
        story.submit("A", b"H:1")
        story.submit("B", b"H:1")
        run = story.ended(b"H:1", 1)
        story.result("A", b"H:1", run)
        story.result("B", b"H:1", run)
        assert impossible(story) is None

    def test_a_submit_for_which_there_is_no_room_changes_nothing(self, story):
        story.no_room("A")
        story.submit("A", b"H:1")
        story.no_room("B")
        story.submit("B", b"H:1")
        run = story.ended(b"H:1", 1)
        story.result("A", b"H:1", run)
        story.result("B", b"H:1", run)
        assert impossible(story) is None

    def test_a_submit_for_which_there_was_no_room_did_not_join_a_job(self, story):
        story.submit("A", b"H:1")
        story.no_room("B")
        run = story.ended(b"H:1", 1)
        story.result("A", b"H:1", run)
        with pytest.raises(UnaskedError):
            story.result("B", b"H:1", run)

    def test_a_submit_after_the_end_makes_a_new_job(self, story):
        story.submit("A", b"H:1")
        story.result("A", b"H:1", story.ended(b"H:1", 1))
        story.submit("A", b"H:2")
        assert impossible(story) is None

    def test_a_submit_is_not_joined_to_a_job_whose_end_somebody_was_told(self, story):
        story.submit("A", b"H:1")
        run = story.begin(b"H:1", 1)
        story.end(run)
        story.result("A", b"H:1", run)
        story.submit("B", b"H:1", background=True)
        assert impossible(story).who == "B"

    def test_a_submit_is_not_joined_to_a_job_whose_worker_had_an_answer_to_what_it_sent_after_its_word(self, story):
        story.submit("A", b"H:1", background=True)
        story.ended(b"H:1", 1)
        story.submit("B", b"H:1")
        assert impossible(story).who == "B"

    def test_a_submit_may_be_joined_while_the_word_may_still_be_on_its_way(self, story):
        story.submit("A", b"H:1")
        run = story.begin(b"H:1", 1)
        story.end(run)
        story.submit("B", b"H:1")
        story.read()
        story.result("A", b"H:1", run)
        story.result("B", b"H:1", run)
        assert impossible(story) is None

    def test_a_new_job_has_a_handle_of_its_own(self, story):
        story.submit("A", b"H:1", background=True)
        story.ended(b"H:1", 1)
        story.submit("A", b"H:2", background=True)
        story.cancel("A", b"H:2", done=True)
        story.submit("A", b"H:1", background=True)
        assert impossible(story).operation == SubmitJob(background=True)

    def test_no_second_job_is_made_while_the_first_is_there(self, story):
        story.submit("A", b"H:1")
        story.submit("B", b"H:2")
        assert impossible(story).who == "B"

    def test_a_submit_that_would_join_is_not_refused(self, story):
        story.submit("A", b"H:1")
        story.refused("B")
        assert impossible(story).who == "B"

    def test_a_submit_without_an_answer_may_have_made_the_job(self, story):
        story.submit("A", None)
        story.status("B", b"H:7", known=True)
        story.submit("B", b"H:7", background=True)
        story.ended(b"H:7", 1)
        story.submit("B", b"H:8", background=True)
        assert impossible(story) is None

    def test_jobs_without_a_key_have_nothing_to_do_with_one_another(self, story):
        alone = Key(b"f", b"")
        story.submit("A", b"H:1", key=alone)
        story.submit("B", b"H:2", key=alone)
        story.result("B", b"H:2", story.ended(b"H:2", 1, alone))
        story.status("A", b"H:1", known=True)
        assert impossible(story) is None

    def test_the_key_dash_is_the_workload(self):
        assert Key.of(b"f", b"-", b"one") != Key.of(b"f", b"-", b"two")
        assert Key.of(b"f", b"u", b"one") == Key.of(b"f", b"u", b"two")


class TestResults:
    def test_a_result_comes_from_a_run_that_ended_after_its_submit(self, story):
        story.submit("A", b"H:1")
        first = story.ended(b"H:1", 1)
        story.result("A", b"H:1", first)
        story.submit("A", b"H:2")
        story.ended(b"H:2", 2)
        story.result("A", b"H:2", first)
        assert impossible(story).answer == first

    def test_a_result_does_not_come_before_its_worker_sent_it(self, story):
        story.submit("A", b"H:1")
        run = story.begin(b"H:1", 1)
        story.result("A", b"H:1", run)
        story.end(run)
        assert impossible(story).answer == run

    def test_a_client_is_told_a_failure_when_the_worker_said_so_or_the_job_was_cancelled(self, story):
        story.submit("A", b"H:1")
        story.end(story.begin(b"H:1", 1), failed=True)
        story.result("A", b"H:1", FAILED)
        story.submit("A", b"H:2")
        story.cancel("B", b"H:2", done=True)
        story.result("A", b"H:2", FAILED)
        assert impossible(story) is None

    def test_a_client_is_not_told_a_failure_of_which_there_was_none(self, story):
        story.submit("A", b"H:1")
        story.ended(b"H:1", 1)
        story.result("A", b"H:1", FAILED)
        assert impossible(story).answer is FAILED

    def test_a_result_may_overtake_the_cancel_of_its_job(self, story):
        story.submit("A", b"H:1")
        run = story.begin(b"H:1", 1)
        story.cancel("B", b"H:1", done=True)
        story.end(run)
        story.result("A", b"H:1", run)
        assert impossible(story) is None

    def test_nobody_is_told_an_end_for_which_it_does_not_wait(self, story):
        story.submit("A", b"H:1", background=True)
        run = story.ended(b"H:1", 1)
        with pytest.raises(UnaskedError, match="does not wait"):
            story.result("A", b"H:1", run)

    def test_a_client_that_submitted_twice_is_told_twice(self, story):
        story.submit("A", b"H:1")
        story.submit("A", b"H:1")
        run = story.ended(b"H:1", 1)
        story.result("A", b"H:1", run)
        story.result("A", b"H:1", run)
        assert impossible(story) is None


class TestStatus:
    def test_a_job_is_known_from_its_submit_to_its_end(self, story):
        story.submit("A", b"H:1")
        story.status("B", b"H:1", known=True)
        story.status_of_unique("B", KEY.unique, known=True)
        run = story.begin(b"H:1", 1)
        story.status("B", b"H:1", known=True, running=True)
        story.end(run)
        story.read()
        story.status("B", b"H:1", known=False)
        story.status_of_unique("B", KEY.unique, known=False)
        assert impossible(story) is None

    @pytest.mark.parametrize("by", ["handle", "unique key"])
    def test_a_job_is_not_shown_after_its_client_was_told_its_end(self, story, by):
        story.submit("A", b"H:1")
        run = story.begin(b"H:1", 1)
        story.end(run)
        story.result("A", b"H:1", run)
        if by == "handle":
            story.status("B", b"H:1", known=True, running=True)
        else:
            story.status_of_unique("B", KEY.unique, known=True, running=True)
        assert impossible(story).who == "B"

    def test_a_job_that_was_shown_as_over_is_not_shown_again(self, story):
        story.submit("A", b"H:1", background=True)
        story.end(story.begin(b"H:1", 1))
        story.status("A", b"H:1", known=False)
        story.status("B", b"H:1", known=True, running=True)
        assert impossible(story).who == "B"

    def test_a_job_that_was_shown_as_running_is_not_shown_as_waiting_unless_its_run_failed(self, story):
        story.submit("A", b"H:1", background=True)
        run = story.begin(b"H:1", 1)
        story.status("A", b"H:1", known=True, running=True)
        story.status("B", b"H:1", known=True)
        assert impossible(story).who == "B"
        again = Story()
        again.submit("A", b"H:1", background=True)
        again.begin(b"H:1", 1)
        again.status("A", b"H:1", known=True, running=True)
        again.invoke("W", RunFails(run))
        again.status("B", b"H:1", known=True)
        assert impossible(again) is None

    def test_a_list_need_not_tell_whether_a_job_runs(self, story):
        story.submit("A", b"H:1", background=True)
        story.status("B", b"H:1", known=True, running=None)
        story.begin(b"H:1", 1)
        story.status("B", b"H:1", known=True, running=True)
        story.status("B", b"H:1", known=True, running=None)
        assert impossible(story) is None

    def test_an_accepted_job_is_known(self, story):
        story.submit("A", b"H:1")
        story.status("B", b"H:1", known=False)
        assert impossible(story).who == "B"

    def test_a_job_does_not_run_before_a_worker_asked_for_it(self, story):
        story.submit("A", b"H:1")
        story.status("B", b"H:1", known=True, running=True)
        assert impossible(story).who == "B"


class TestCancel:
    def test_a_job_is_cancelled_once(self, story):
        story.submit("A", b"H:1", background=True)
        story.cancel("A", b"H:1", done=True)
        story.cancel("B", b"H:1", done=False)
        story.submit("B", b"H:2", background=True)
        assert impossible(story) is None

    def test_a_second_cancel_finds_no_job(self, story):
        story.submit("A", b"H:1", background=True)
        story.cancel("A", b"H:1", done=True)
        story.cancel("B", b"H:1", done=True)
        assert impossible(story).who == "B"

    def test_a_job_that_was_not_told_to_have_ended_can_be_cancelled(self, story):
        story.submit("A", b"H:1", background=True)
        story.cancel("B", b"H:1", done=False)
        assert impossible(story).who == "B"

    def test_a_job_whose_end_was_told_cannot_be_cancelled(self, story):
        story.submit("A", b"H:1")
        story.result("A", b"H:1", story.ended(b"H:1", 1))
        story.cancel("B", b"H:1", done=True)
        assert impossible(story).who == "B"

    def test_a_cancel_without_an_answer_may_have_been_done(self, story):
        story.submit("A", b"H:1")
        story.invoke("B", CancelJob(b"H:1"))
        story.result("A", b"H:1", FAILED)
        assert impossible(story) is None


class TestFailures:
    def test_a_job_may_be_run_again_after_its_end_was_told_when_the_run_may_have_failed(self, story):
        story.submit("A", b"H:1")
        story.submit("B", b"H:1")
        first = story.ended(b"H:1", 1)
        story.result("A", b"H:1", first)
        story.invoke("W", RunFails(first))
        story.status("A", b"H:1", known=True)
        story.submit("A", b"H:1")
        second = story.ended(b"H:1", 2)
        story.result("B", b"H:1", second)
        story.result("A", b"H:1", second)
        story.status("A", b"H:1", known=False)
        assert impossible(story) is None

    def test_a_failure_excuses_nothing_that_was_told_before_it(self, story):
        story.submit("A", b"H:1")
        first = story.ended(b"H:1", 1)
        story.result("A", b"H:1", first)
        story.submit("A", b"H:1")
        story.invoke("W", RunFails(first))
        story.result("A", b"H:1", story.ended(b"H:1", 2))
        assert impossible(story).operation == SubmitJob()

    def test_a_job_does_not_come_back_when_its_key_has_a_new_one(self, story):
        story.submit("A", b"H:1", background=True)
        first = story.ended(b"H:1", 1)
        story.submit("A", b"H:2", background=True)
        story.invoke("W", RunFails(first))
        story.status("A", b"H:1", known=True)
        assert impossible(story).answer.known

    def test_a_result_may_be_lost_with_the_node_that_had_it(self, story):
        story.submit("A", b"H:1")
        run = story.ended(b"H:1", 1)
        story.invoke("W", RunFails(run))
        story.result("A", b"H:1", FAILED)
        assert impossible(story) is None

    def test_a_job_may_be_given_up_when_its_run_may_have_failed(self, story):
        story.submit("A", b"H:1")
        story.invoke("W", RunFails(story.begin(b"H:1", 1)))
        story.result("A", b"H:1", FAILED)
        story.status("B", b"H:1", known=False)
        assert impossible(story) is None

    def test_a_job_that_nobody_waits_for_may_be_dropped(self, story):
        story.submit("A", b"H:1")
        story.invoke("A", ClientLeaves())
        story.status("B", b"H:1", known=True)
        story.status("B", b"H:1", known=False)
        story.submit("B", b"H:2")
        assert impossible(story) is None

    def test_a_job_that_somebody_waits_for_or_that_runs_in_the_background_is_not_dropped(self, story):
        story.submit("A", b"H:1")
        story.submit("B", b"H:1", background=True)
        story.invoke("A", ClientLeaves())
        story.status("B", b"H:1", known=False)
        assert impossible(story).who == "B"


class TestManyHistories:
    @settings(max_examples=200, deadline=None)
    @given(st.integers(0, 2**32))
    def test_what_a_server_tells_that_does_one_thing_at_a_time_has_an_order(self, seed):
        assert judge(Play(seed).recorder.history()) == []

    @pytest.mark.parametrize("fault", ["joins the last job", "shows ended jobs", "cancels twice", "old result"])
    def test_a_fault_is_seen_in_many_of_them(self, fault):
        seen = [seed for seed in range(40) if judge(Play(seed, fault).recorder.history())]
        assert len(seen) >= 10

    def test_a_history_of_one_key_takes_little_time_to_check(self):
        calls = Play(1, events=600).recorder.history()
        assert len(calls) >= 100
        assert check(calls, JobServer(), bound=10_000) is None


class TestACounterexample:
    def test_is_shown_in_words_up_to_the_answer_that_has_no_place(self, story):
        story.submit("A", b"H:1")
        run = story.begin(b"H:1", 1)
        story.end(run)
        story.result("A", b"H:1", run)
        story.submit("B", b"H:1", background=True)
        story.status("A", b"H:1", known=False)
        found = check(story.history(), JobServer())
        assert explain(KEY, found).splitlines() == [
            "no order of the calls for f with 'u' explains the last answer:",
            "     0 A: submits and waits f with 'u': accepted as H:1  [0.001000 to 0.002000]",
            "     1 A: waits for H:1: told the end of run 1 of H:1  [0.003000 to 0.006000]",
            "     2 W: asks for a job, and begins run 1 of H:1  [0.004000, never answered]",
            "     3 W: ends run 1 of H:1  [0.005000, never answered]",
            "     4 B: submits in the background f with 'u': accepted as H:1  [0.007000 to 0.008000]",
            "  there is no place for this answer to 4, B: submits in the background f with 'u': accepted as H:1",
            "  before that answer: there is no job of this key any more: run 1 of H:1 has ended it",
        ]
