"""Sessions that listen to jobs which run elsewhere: what they are told, whatever overtakes what."""

from collections import Counter

import pytest

from cluster.jobs import (
    Batch,
    Can,
    Cancel,
    Concluded,
    Created,
    Failed,
    Finish,
    Grab,
    JobTable,
    Joined,
    NodeDown,
    NodeUp,
    Progress,
    SessionClose,
    SessionOpen,
    Submit,
    Take,
    propose,
)
from node.gateway.listening import Listening
from node.relay import Report
from protocol import PacketType as P

CLIENT = 1
"""The session of the client at node `here`."""
WORKER = 7
"""The session of the worker at node `there`."""


class Scene:
    """A node, `here`, with a client; a worker is at `there`. What they say is applied at once, or as one entry."""

    def __init__(self) -> None:
        self.table = JobTable("here")
        self.said: list[tuple[int, P, list[bytes]]] = []
        self.kept: Counter[int] = Counter()
        """How many bytes are kept for each session."""
        self.listening = Listening(
            "here", self.table, lambda *what: self.said.append(what), lambda who, size: self.kept.update({who: size})
        )
        self._numbers = {"here": 0, "there": 0}
        self.index = 0
        """Of the entry that was applied last."""
        self.entry(("here", NodeUp(b"H", -1)), ("there", NodeUp(b"H", -1)))
        self.entry(("here", SessionOpen(CLIENT, "")), ("there", SessionOpen(WORKER, ""), Can(WORKER, b"f", 0)))

    def entry(self, *batches, decisions=()) -> None:
        """Apply one entry, and pass its effects on as a gateway does."""
        self.index += 1
        made = []
        for node, *commands in batches:
            made.append(Batch(node, 1, self._numbers[node] + 1, commands))
            self._numbers[node] += len(commands)
        for effect in self.table.apply(propose(1, made, decisions)):
            if isinstance(effect, Created) and effect.listens:
                if not self.listening.was_told(effect.session, effect.job.number):
                    self.listening.created(effect.session, effect.job)
                else:
                    self.listening.listens_again(effect.session, effect.job, self.index)
            elif isinstance(effect, Joined) and not (effect.submit.background or effect.again):
                self.listening.hold(effect.session, effect.job)
                self.listening.release(effect.session, effect.job)
            elif isinstance(effect, Concluded):
                self.listening.concluded(effect)
            elif isinstance(effect, Failed) and not self.listening.failed(effect.session, effect.job):
                self.said.append((effect.session, P.WORK_FAIL, [effect.job.handle]))

    def next(self, node: str) -> int:
        """Number the next command of a node."""
        self._numbers[node] += 1
        return self._numbers[node]

    def submit(self, session: int = CLIENT, *, background: bool = False):
        return ("here", Submit(session, b"f", b"u", b"", 1, background))

    def run(self) -> int:
        """Let a job be submitted, and a worker begin with it; return its number."""
        self.entry(self.submit())
        job = self.table.last_job
        self.entry(("there", Grab(WORKER, 0), Take(WORKER, job)))
        return job

    def finish(self, job: int):
        return ("there", Finish(WORKER, job))

    def report(self, job: int, kind: P, *args: bytes, sessions=(CLIENT,), held: int = 0) -> None:
        self.listening.reported(Report(job, list(sessions), kind, [b"H:%d" % job, *args], held))

    def hears(self) -> list[tuple[P, bytes]]:
        """Give what the client was told since the last time."""
        said, self.said = self.said, []
        return [(kind, args[-1]) for session, kind, args in said if session == CLIENT]


@pytest.fixture
def scene():
    return Scene()


LARGE = bytes(10_000)


class TestWhatIsKept:
    """Is counted for its session as long as it is kept."""

    def test_because_it_came_early(self, scene):
        scene.report(1, P.WORK_DATA, LARGE)
        assert scene.kept[CLIENT] == len(b"H:1") + len(LARGE)
        scene.run()
        assert len(scene.hears()) == 1
        assert scene.kept[CLIENT] == 0

    def test_because_the_submit_is_not_answered(self, scene):
        job = scene.run()
        kept = scene.table.jobs[job]
        scene.report(2, P.WORK_DATA, LARGE)
        scene.listening.hold(CLIENT, kept)
        scene.report(job, P.WORK_DATA, LARGE)
        scene.listening.keep(CLIENT, kept, P.WORK_DATA, [b"H:1", LARGE])
        assert scene.kept[CLIENT] == 3 * len(LARGE) + 3 * len(b"H:1")
        scene.listening.release(CLIENT, kept)
        assert scene.kept[CLIENT] == len(LARGE) + len(b"H:1")

    def test_because_the_log_does_not_know_of_the_end(self, scene):
        job = scene.run()
        scene.report(job, P.WORK_COMPLETE, LARGE)
        assert scene.kept[CLIENT] >= len(LARGE)
        scene.report(job, P.WORK_COMPLETE, LARGE)  # of another run
        assert scene.kept[CLIENT] >= 2 * len(LARGE)
        scene.entry(scene.finish(job))
        assert scene.kept[CLIENT] == 0

    def test_goes_with_its_session(self, scene):
        job = scene.run()
        scene.report(job, P.WORK_COMPLETE, LARGE)
        scene.report(2, P.WORK_DATA, LARGE)
        scene.listening.disconnected(CLIENT)
        assert not scene.listening._early
        assert scene.listening.told == scene.listening._large == {}


class TestAReport:
    def test_is_passed_on_to_who_listens(self, scene):
        job = scene.run()
        scene.report(job, P.WORK_DATA, b"1")
        scene.report(job, P.WORK_COMPLETE, b"2")
        scene.entry(scene.finish(job))
        scene.listening.tick()
        assert scene.hears() == [(P.WORK_DATA, b"1"), (P.WORK_COMPLETE, b"2")]

    def test_that_comes_before_the_log_says_who_listens_is_told_then(self, scene):
        scene.report(1, P.WORK_DATA, b"1")
        scene.report(1, P.WORK_COMPLETE, b"2")
        assert scene.hears() == []
        scene.listening.tick()
        scene.entry(scene.submit())
        assert scene.hears() == [(P.WORK_DATA, b"1"), (P.WORK_COMPLETE, b"2")]

    def test_that_comes_before_its_session_listens_to_a_job_that_is_known_is_told_then(self, scene):
        job = scene.run()
        scene.entry(("here", SessionOpen(2, "")))
        scene.report(job, P.WORK_COMPLETE, b"r", sessions=(CLIENT, 2))
        assert scene.said == [(CLIENT, P.WORK_COMPLETE, [b"H:1", b"r"])]
        scene.entry(scene.submit(2))
        assert scene.said[1:] == [(2, P.WORK_COMPLETE, [b"H:1", b"r"])]

    def test_that_comes_before_the_entry_in_which_the_job_is_joined_and_ends_is_told_then(self, scene):
        job = scene.run()
        scene.entry(("here", SessionOpen(2, "")))
        scene.report(job, P.WORK_DATA, b"1", sessions=(2,))
        scene.report(job, P.WORK_COMPLETE, b"r", sessions=(2,))
        scene.entry(scene.submit(2), scene.finish(job))
        assert scene.said == [(2, P.WORK_DATA, [b"H:1", b"1"]), (2, P.WORK_COMPLETE, [b"H:1", b"r"])]
        assert not scene.listening.awaits(2, job)

    def test_of_another_run_is_not_told_after_the_end(self, scene):
        job = scene.run()
        scene.report(job, P.WORK_COMPLETE, b"r")
        scene.report(job, P.WORK_DATA, b"again")
        scene.report(job, P.WORK_COMPLETE, b"again")
        assert scene.hears() == [(P.WORK_COMPLETE, b"r")]

    def test_that_nobody_can_want_any_more_is_forgotten(self, scene):
        job = scene.run()
        scene.entry(("there", Cancel(WORKER, b"H:%d" % job)))
        assert scene.hears() == [(P.WORK_FAIL, b"H:1")]
        scene.report(job, P.WORK_COMPLETE, b"too late")
        scene.listening.tick()
        assert not scene.listening._early
        assert scene.hears() == []

    def test_for_a_session_that_left_is_forgotten(self, scene):
        scene.report(1, P.WORK_COMPLETE, b"r")
        scene.listening.disconnected(CLIENT)
        scene.entry(scene.submit())
        assert scene.hears() == []


class TestAnEndThatTheLogKnows:
    def test_first_waits_for_the_worker_s_word(self, scene):
        job = scene.run()
        scene.entry(scene.finish(job))
        scene.listening.tick()
        assert scene.hears() == []
        scene.report(job, P.WORK_DATA, b"1")
        scene.report(job, P.WORK_COMPLETE, b"r")
        scene.listening.tick()
        assert scene.hears() == [(P.WORK_DATA, b"1"), (P.WORK_COMPLETE, b"r")]

    def test_is_a_failure_once_the_only_node_that_had_the_word_is_gone(self, scene):
        job = scene.run()
        scene.entry(scene.finish(job))
        scene.entry(decisions=[NodeDown("there", 1)])
        scene.listening.tick()
        scene.report(job, P.WORK_COMPLETE, b"after all")
        scene.listening.tick()
        assert scene.hears() == [(P.WORK_FAIL, b"H:1")]

    def test_is_not_awaited_for_a_session_that_left(self, scene):
        job = scene.run()
        scene.entry(scene.finish(job))
        scene.listening.disconnected(CLIENT)
        scene.entry(decisions=[NodeDown("there", 1)])
        scene.listening.tick()
        assert scene.hears() == []


class TestWhoWasTold:
    def test_is_told_the_end_of_another_run_when_it_submits_the_job_again_that_is_to_be_run_again(self, scene):
        job = scene.run()
        scene.report(job, P.WORK_COMPLETE, b"r")
        scene.entry(decisions=[NodeDown("there", 1)])
        scene.entry(scene.submit())
        scene.listening.tick()
        assert scene.hears() == [(P.WORK_COMPLETE, b"r")]
        scene.report(job, P.WORK_COMPLETE, b"again")
        assert scene.hears() == [(P.WORK_COMPLETE, b"again")]

    def test_is_not_told_again_when_it_asks_again_in_the_background(self, scene):
        job = scene.run()
        scene.report(job, P.WORK_COMPLETE, b"r")
        scene.entry(scene.submit(background=True))
        scene.entry(scene.finish(job))
        assert scene.hears() == [(P.WORK_COMPLETE, b"r")]

    def test_is_told_of_no_failure(self, scene):
        job = scene.run()
        scene.report(job, P.WORK_COMPLETE, b"r")
        scene.entry(("there", Cancel(WORKER, b"H:%d" % job)))
        assert scene.hears() == [(P.WORK_COMPLETE, b"r")]

    def test_by_a_worker_here_hears_nothing_of_a_run_elsewhere(self, scene):
        job = scene.run()
        scene.listening.note_told(CLIENT, Report(job, [], P.WORK_COMPLETE, [b"H:1", b"r"]))
        assert scene.listening.was_told(CLIENT, job)
        scene.report(job, P.WORK_COMPLETE, b"again")
        scene.entry(scene.finish(job))
        scene.entry(decisions=[NodeDown("there", 1)])
        scene.listening.tick()
        assert scene.hears() == []

    def test_by_a_worker_here_is_forgotten_with_its_job(self, scene):
        job = scene.run()
        scene.listening.note_told(CLIENT, Report(job, [], P.WORK_COMPLETE, [b"H:1", b"r"]))
        scene.listening.ended(job)
        assert not scene.listening.was_told(CLIENT, job)

    def test_is_forgotten_when_everybody_is(self, scene):
        job = scene.run()
        scene.report(job, P.WORK_COMPLETE, b"r")
        scene.listening.reset()
        assert not scene.listening.was_told(CLIENT, job)


class TestASubmitThatIsNotAnsweredYet:
    """It joined a job that a worker of another node has, which may have ended before."""

    @pytest.fixture
    def joined(self, scene):
        """A second client here has joined the job."""
        scene.entry(("here", SessionOpen(2, "")))
        number = scene.run()
        job = scene.table.jobs[number]
        scene.table.apply(propose(1, [Batch("here", 1, scene.next("here"), [Submit(2, b"f", b"u", b"", 1, False)])]))  # noqa: FBT003
        assert not scene.listening.hold(2, job)
        return job

    def test_hears_what_came_meanwhile_once_it_is(self, scene, joined):
        scene.report(joined.number, P.WORK_DATA, b"1", sessions=(2,))
        scene.report(joined.number, P.WORK_COMPLETE, b"r", sessions=(2,))
        assert scene.said == []
        assert scene.listening.has_end(2, joined)
        scene.listening.release(2, joined)
        assert [(kind, args[-1]) for _, kind, args in scene.said] == [(P.WORK_DATA, b"1"), (P.WORK_COMPLETE, b"r")]

    def test_waits_for_the_worker_s_word_though_the_log_knew_of_the_end_before(self, scene, joined):
        scene.entry(scene.finish(joined.number))
        scene.listening.release(2, joined)
        assert scene.said == []
        scene.report(joined.number, P.WORK_COMPLETE, b"r", sessions=(2,))
        assert scene.said == [(2, P.WORK_COMPLETE, [b"H:1", b"r"])]

    def test_hears_nothing_of_a_job_that_it_does_not_wait_for_after_all(self, scene, joined):
        scene.report(joined.number, P.WORK_COMPLETE, b"r", sessions=(2,))
        scene.entry(scene.finish(joined.number))
        scene.listening.discard(2, joined)
        scene.entry(decisions=[NodeDown("there", 1)])
        scene.listening.tick()
        assert [session for session, *_ in scene.said if session == 2] == []

    @pytest.mark.parametrize(
        "forget", [lambda listening: listening.disconnected(2), lambda listening: listening.reset()]
    )
    def test_is_forgotten_with_its_session(self, scene, joined, forget):
        scene.report(joined.number, P.WORK_COMPLETE, b"r", sessions=(2,))
        forget(scene.listening)
        scene.listening.discard(2, joined)
        assert not scene.listening._held
        assert scene.said == []


class TestASession:
    def test_that_closed_leaves_the_others_listening(self, scene):
        scene.entry(("here", SessionOpen(2, "")))
        job = scene.run()
        scene.entry(scene.submit(2))
        scene.entry(("here", SessionClose(2)), ("there", Progress(WORKER, job, 1, 2)))
        scene.report(job, P.WORK_COMPLETE, b"r")
        assert scene.hears() == [(P.WORK_COMPLETE, b"r")]
