"""The promises that plain comparison checks: later runs for all submits, no refusal without a full queue, counts."""

import pytest

from tests.histories.history import FAILED, QUEUE_FULL, ClientLeaves, CountJobs, Key, RunFails, SetLimit, SubmitJob
from tests.histories.rules import wrongly_counted, wrongly_joined, wrongly_refused
from tests.histories.story import KEY, Play, Story

F = KEY.function


@pytest.fixture
def story():
    return Story()


def joined(story, **settings):
    return list(wrongly_joined(story.history(), **settings))


class TestEveryAcknowledgedSubmit:
    def test_is_answered_by_a_run_that_ended_after_it_was_sent(self, story):
        story.submit("A", b"H:1")
        story.result("A", b"H:1", story.ended(b"H:1", 1))
        assert joined(story) == []

    def test_is_not_answered_by_a_run_whose_end_was_told_before(self, story):
        story.submit("A", b"H:1")
        run = story.begin(b"H:1", 1)
        story.end(run)
        story.result("A", b"H:1", run)
        story.submit("A", b"H:1")
        story.result("A", b"H:1", run)
        (said,) = joined(story)
        assert said == (
            "the submit of f with 'u' that A sent at 0.007000 is answered by run 1 of H:1, which had ended before: "
            "W ended run 1 of H:1 at 0.005000, and somebody was told by 0.006000"
        )

    def test_is_not_acknowledged_and_never_run(self, story):
        story.submit("A", b"H:1")
        story.result("A", b"H:1", story.ended(b"H:1", 1))
        story.submit("B", b"H:1", background=True)
        (said,) = joined(story)
        assert said.startswith("the background submit of f with 'u' that B sent")
        assert "accepted as H:1 and not run after that: W ended run 1 of H:1 at" in said

    def test_is_not_joined_to_a_run_of_whose_end_its_client_learned_in_another_way(self, story):
        story.submit("A", b"H:1", background=True)
        story.ended(b"H:1", 1)  # the worker knows that the server has read it, and may tell anybody
        story.submit("B", b"H:1", background=True)
        assert len(joined(story)) == 1

    def test_may_be_run_by_one_whose_word_may_not_have_been_read_yet(self, story):
        story.submit("A", b"H:1", background=True)
        story.end(story.begin(b"H:1", 1))
        story.submit("B", b"H:1", background=True)
        assert joined(story) == []

    def test_may_still_be_run_while_the_history_goes_on(self, story):
        story.submit("A", b"H:1", background=True)
        story.submit("B", b"H:1")
        assert joined(story, settled=False) == []
        assert len(joined(story)) == 2

    def test_need_not_be_run_when_it_was_cancelled_later(self, story):
        story.submit("A", b"H:1", background=True)
        story.submit("B", b"H:1")
        story.cancel("A", b"H:1", done=True)
        story.result("B", b"H:1", FAILED)
        assert joined(story) == []
        story.submit("A", b"H:1", background=True)
        assert len(joined(story)) == 1

    def test_is_told_a_failure_only_if_there_was_one(self, story):
        story.submit("A", b"H:1")
        run = story.ended(b"H:1", 1)
        story.result("A", b"H:1", FAILED)
        assert "no worker said so" in joined(story)[0]
        story.invoke("W", RunFails(run))
        assert joined(story) == []

    def test_is_told_a_failure_that_its_worker_reports(self, story):
        story.submit("A", b"H:1")
        story.end(story.begin(b"H:1", 1), failed=True)
        story.result("A", b"H:1", FAILED)
        assert joined(story) == []

    def test_is_not_run_when_its_attempts_are_used_up_if_they_are_limited(self, story):
        story.submit("A", b"H:1", background=True)
        story.invoke("W", RunFails(story.begin(b"H:1", 1)))
        assert len(joined(story)) == 1
        assert joined(story, attempts_limited=True) == []

    def test_is_owed_nothing_when_its_client_left(self, story):
        story.submit("A", b"H:1")
        story.invoke("A", ClientLeaves())
        assert joined(story) == []

    def test_is_not_answered_by_a_run_that_nobody_made(self, story):
        story.submit("A", b"H:1")
        story.result("A", b"H:1", story.begin(b"H:1", 1))
        assert "which had not ended" in joined(story)[0]


def refused(story):
    return list(wrongly_refused(story.history()))


def limit(story, jobs):
    number = story.invoke("O", SetLimit(F, jobs))
    story.answer(number, True)  # noqa: FBT003 - the answer is OK


class TestARefusal:
    def test_needs_as_many_jobs_as_the_limit(self, story):
        limit(story, 1)
        story.submit("A", b"H:1", background=True, key=Key(F, b"1"))
        story.refused("A", Key(F, b"2"))
        assert refused(story) == []
        limit(story, 2)
        story.refused("A", Key(F, b"2"))
        (said,) = refused(story)
        assert said.endswith("is refused: the limit is 2, and there can have been 1 jobs")

    def test_needs_a_limit(self, story):
        story.submit("A", b"H:1", background=True, key=Key(F, b"1"))
        story.refused("A", Key(F, b"2"))
        assert refused(story)[0].endswith("is refused, and there is no limit")
        limit(story, 1)
        limit(story, 0)
        story.refused("A", Key(F, b"3"))
        assert len(refused(story)) == 2

    def test_may_be_by_a_limit_that_is_being_set_or_lifted(self, story):
        story.submit("A", b"H:1", background=True, key=Key(F, b"1"))
        number = story.invoke("O", SetLimit(F, 1))
        story.refused("A", Key(F, b"2"))
        story.answer(number, True)  # noqa: FBT003 - the answer is OK
        lifted = story.invoke("O", SetLimit(F, 0))
        story.refused("A", Key(F, b"3"))
        story.answer(lifted, True)  # noqa: FBT003 - the answer is OK
        assert refused(story) == []

    def test_never_meets_a_client_that_submits_one_job_at_a_time_and_waits_for_each_result(self, story):
        limit(story, 1)
        for number in range(1, 4):
            handle, key = b"H:%d" % number, Key(F, b"%d" % number)
            story.submit("A", handle, key=key)
            run = story.begin(handle, number, key)
            story.end(run, key)
            story.result("A", handle, run)
        assert refused(story) == []
        story.refused("A", Key(F, b"9"))
        assert len(refused(story)) == 1

    def test_counts_no_job_that_was_cancelled_or_shown_as_over(self, story):
        limit(story, 1)
        story.submit("A", b"H:1", background=True, key=Key(F, b"1"))
        story.cancel("A", b"H:1", done=True)
        story.submit("A", b"H:2", background=True, key=Key(F, b"2"))
        story.end(story.begin(b"H:2", 1, Key(F, b"2")), Key(F, b"2"))
        story.status("B", b"H:2", known=False)
        story.refused("A", Key(F, b"3"))
        assert len(refused(story)) == 1

    def test_counts_jobs_whose_submit_was_not_answered(self, story):
        limit(story, 1)
        story.submit("A", None, key=Key(F, b"1"))
        story.refused("B", Key(F, b"2"))
        assert refused(story) == []

    def test_counts_jobs_of_other_functions_for_nothing(self, story):
        limit(story, 1)
        story.submit("A", b"H:1", background=True, key=Key(b"g", b"1"))
        story.refused("A", Key(F, b"2"))
        assert len(refused(story)) == 1


class TestACount:
    def ask(self, story, count):
        story.answer(story.invoke("A", CountJobs(F)), count)
        return list(wrongly_counted(story.history()))

    def test_is_that_of_the_jobs_that_are_there(self, story):
        story.submit("A", b"H:1", background=True)
        assert self.ask(story, 1) == []
        story.ended(b"H:1", 1)
        assert self.ask(story, 0) == []

    def test_has_no_job_whose_end_was_told(self, story):
        story.submit("A", b"H:1")
        run = story.begin(b"H:1", 1)
        story.end(run)
        story.result("A", b"H:1", run)
        (said,) = self.ask(story, 1)
        assert said.startswith("A asks for the number of jobs of f: 1, at")
        assert said.endswith("there were 0 to 0")

    def test_leaves_out_no_job_that_is_there(self, story):
        story.submit("A", b"H:1", background=True)
        story.submit("A", b"H:2", background=True, key=Key(F, b"2"))
        assert self.ask(story, 1)[0].endswith("there were 2 to 2")

    def test_may_be_of_any_moment_since_it_was_asked_for(self, story):
        asked = story.invoke("A", CountJobs(F))
        story.submit("B", b"H:1", background=True)
        story.end(story.begin(b"H:1", 1))
        story.submit("B", None, key=Key(F, b"2"))
        story.answer(asked, 0)
        for count in (1, 2):
            story.answer(story.invoke("A", CountJobs(F)), count)
        assert list(wrongly_counted(story.history())) == []

    def test_may_leave_out_a_job_that_ended_before_its_client_heard_that_it_was_accepted(self, story):
        submit = story.invoke("A", SubmitJob(background=True), KEY)
        story.ended(b"H:1", 1)
        story.created(submit, b"H:1")
        assert self.ask(story, 0) == []
        assert len(self.ask(story, 1)) == 1

    def test_a_job_whose_run_may_have_failed_may_be_there_or_not(self, story):
        story.submit("A", b"H:1", background=True)
        story.invoke("W", RunFails(story.ended(b"H:1", 1)))
        assert self.ask(story, 1) == []
        assert self.ask(story, 0) == []


def test_a_refusal_is_recorded_as_the_answer_of_its_submit():
    story = Story()
    story.refused("A")
    (call,) = story.history()
    assert isinstance(call.operation, SubmitJob)
    assert call.answer is QUEUE_FULL


def test_what_a_server_makes_that_does_one_thing_at_a_time_keeps_all_rules():
    for seed in range(40):
        calls = Play(seed).recorder.history()
        assert list(wrongly_joined(calls)) == []
        assert list(wrongly_counted(calls)) == []
