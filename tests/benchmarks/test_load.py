"""The load generator counts what a server really did: a lost job fails the run."""

import pytest

SUBMIT = {"clients": 4, "jobs": 400, "window": 16}
DRAIN = {"workers": 3}
MIX = SUBMIT | DRAIN
FOREGROUND = {"clients": 8, "workers": 4, "jobs": 200, "window": 1, "foreground": True}

KEYED = FOREGROUND | {"keyed": True}
JOINING = KEYED | {"jobs": 100, "sharers": 2}


class TestHonestServer:
    def test_every_background_job_submitted_is_drained_once(self, serve, play_against):
        submitted, drained = play_against(serve(), SUBMIT, DRAIN)
        assert submitted["jobs"] == drained["jobs"] == 400
        assert submitted["samples"] > 0
        assert drained["samples"] > 0

    def test_workers_that_sleep_are_woken_and_run_what_comes(self, serve, play_against):
        assert [result["jobs"] for result in play_against(serve(), MIX)] == [400]

    def test_every_foreground_job_has_its_result_and_a_latency(self, serve, play_against):
        assert play_against(serve(), FOREGROUND) == [{"jobs": 200, "samples": 200, "joined": 0.0}]

    def test_keyed_jobs_join_nothing_when_each_has_a_key_of_its_own(self, serve, play_against):
        assert play_against(serve(), KEYED) == [{"jobs": 200, "samples": 200, "joined": 0.0}]

    @pytest.mark.parametrize("processes", [1, 2, 3])
    def test_of_two_clients_that_share_their_keys_half_of_the_submits_join(self, serve, play_against, processes):
        (result,) = play_against(serve(wait_for_the_second=True), JOINING, client_processes=processes)
        assert result == {"jobs": 200, "samples": 200, "joined": 0.5}

    def test_a_submit_that_came_too_late_to_join_is_run_and_counted(self, serve, play_against):
        (result,) = play_against(serve(join_nothing=True), JOINING)
        assert result == {"jobs": 200, "samples": 200, "joined": 0.0}

    def test_clients_that_share_jobs_stop_together_when_the_time_is_up(self, serve, play_against):
        (result,) = play_against(serve(), JOINING | {"jobs": 100_000, "seconds": 0.2})
        assert 0 < result["jobs"] < 200_000
        assert result["jobs"] == result["samples"]

    @pytest.mark.parametrize("step", [1, 7, 13])
    def test_answers_that_come_in_pieces_are_counted_once(self, serve, play_against, step):
        small = MIX | {"jobs": 60}
        results = play_against(serve(dribble=step), small, FOREGROUND | {"jobs": 40})
        assert [result["jobs"] for result in results] == [60, 40]

    def test_payloads_larger_than_a_read_are_counted(self, serve, play_against):
        large = {"clients": 2, "jobs": 10, "window": 2, "payload_bytes": 1 << 20}
        results = play_against(serve(), large, DRAIN | {"payload_bytes": 1 << 20})
        assert [result["jobs"] for result in results] == [10, 10]

    def test_several_processes_share_clients_and_workers(self, serve, play_against):
        results = play_against(serve(), MIX, client_processes=2, worker_processes=2)
        assert [result["jobs"] for result in results] == [400]

    def test_time_that_is_up_ends_submitting_and_accounts_for_what_was_sent(self, serve, play_against):
        (result,) = play_against(serve(), MIX | {"jobs": 1_000_000, "seconds": 0.2})
        assert 0 < result["jobs"] < 1_000_000


class TestFaultyServer:
    @pytest.mark.parametrize("shapes", [(MIX,), (SUBMIT, DRAIN)], ids=["mix", "drain"])
    def test_a_background_job_lost_after_its_acknowledgement_fails_the_run(self, serve, play_against, shapes):
        *_before, last = play_against(serve(lose=frozenset({399})), *shapes)
        assert last["error"] == "JobsUnaccountedError"
        assert "1 of 400 jobs were never given to a worker" in last["message"]

    def test_a_job_run_twice_fails_the_run(self, serve, play_against):
        (result,) = play_against(serve(repeat=frozenset({7})), MIX)
        assert result["error"] == "JobsUnaccountedError"
        assert "run more than once (first: [7])" in result["message"]

    def test_a_job_run_twice_in_place_of_another_is_seen_though_the_count_is_right(self, serve, play_against):
        (result,) = play_against(serve(rename={7: 8}), MIX)
        assert "1 jobs were lost (first: [7]), 1 were run more than once (first: [8])" in result["message"]

    def test_a_job_that_was_never_submitted_fails_the_run(self, serve, play_against):
        (result,) = play_against(serve(rename={7: 5000}), MIX)
        assert "never submitted" in result["message"]

    def test_a_foreground_result_that_does_not_come_fails_the_run(self, serve, play_against):
        (result,) = play_against(serve(withhold_result=frozenset({50})), FOREGROUND)
        assert result["error"] == "JobsUnaccountedError"
        assert "199 came" in result["message"] or "answers that do not come" in result["message"]

    def test_a_shared_job_that_is_run_more_often_than_it_was_submitted_fails_the_run(self, serve, play_against):
        (result,) = play_against(serve(join_nothing=True, repeat=frozenset({50})), JOINING)
        assert result["error"] == "JobsUnaccountedError"
        assert "run more than once (first: [50])" in result["message"]

    def test_a_shared_result_that_does_not_come_fails_the_run(self, serve, play_against):
        (result,) = play_against(serve(withhold_result=frozenset({50})), JOINING)
        assert "answers that do not come" in result["message"]

    def test_more_acknowledgements_than_jobs_fail_the_run(self, serve, play_against):
        (result,) = play_against(serve(acknowledge_twice=frozenset({99})), SUBMIT)
        assert result["error"] == "ServerFailedError"
        assert "acknowledged on a connection that sent 100" in result["message"]

    def test_an_error_packet_fails_the_run_with_its_text(self, serve, play_against):
        (result,) = play_against(serve(refuse=frozenset({30})), SUBMIT)
        assert result["error"] == "ServerFailedError"
        assert "QUEUE_ERROR" in result["message"]

    def test_a_connection_closed_in_the_middle_fails_the_run(self, serve, play_against):
        (result,) = play_against(serve(hang_up=frozenset({30})), SUBMIT)
        assert result["error"] == "ServerFailedError"
