"""What must hold in every state of a job table, whatever led there."""

from collections import Counter

from cluster.jobs import Job, JobState, JobTable, Node, Session
from tests.cluster.jobs.views import asleep, name_of, reachable


def check(table: JobTable) -> None:
    """Assert that the table agrees with itself and keeps nothing alive that is over."""
    _counts_are_recounts(table)
    _each_job_is_in_one_place(table)
    _sessions_and_jobs_agree(table)
    _keys_stand_for_living_jobs(table)
    _nothing_of_the_past_is_kept(table)
    _a_deadline_is_known_for_whatever_has_one(table)


def _nodes(table: JobTable) -> list[Node]:
    """Give those of the present, and those whose sessions are departing."""
    return list({id(node): node for node in [*table.nodes.values(), *table.departing]}.values())


def _counts_are_recounts(table: JobTable) -> None:
    for function in table.functions.values():
        jobs = [job for job in table.jobs.values() if job.function is function]
        assert function.total == len(jobs)
        assert function.queued == sum(function.waiting)
        assert function.running == sum(job.state is JobState.RUNNING for job in jobs)
        for priority in (0, 1, 2):
            ours = [job for job in jobs if job.priority == priority]
            assert function.queues[priority].waiting == function.waiting[priority]
            assert function.pending[priority] == sum(job.state is not JobState.RUNNING for job in ours)
            assert function.waiting[priority] == sum(job.state is JobState.QUEUED for job in ours)
            assert (function.name in table.waiting.ready[priority]) == bool(function.waiting[priority])
    for priority in (0, 1, 2):
        for name, function in table.waiting.ready[priority].items():
            assert table.functions[name] is function


def _each_job_is_in_one_place(table: JobTable) -> None:
    positions = Counter(job.position for job in table.jobs.values() if job.state is JobState.QUEUED)
    assert all(count == 1 for count in positions.values())
    for number, job in table.jobs.items():
        assert job.number == number
        assert number <= table.last_job
        assert job.state is not JobState.ENDED
        assert (job.holder is not None) == (job.state in (JobState.RESERVED, JobState.RUNNING))
        assert bool(job.due) == (job.state is JobState.DELAYED)
        assert not job.deadline or job.state is JobState.RUNNING
        assert job.background or job.listeners or job.holder is not None
        assert table.functions[job.function.name] is job.function
        assert table.find(job.handle) is job
    for function in table.functions.values():
        for priority in (0, 1, 2):
            waiting = [job for job in table.jobs.values() if job.function is function and job.priority == priority]
            waiting = [job.number for job in waiting if job.state is JobState.QUEUED]
            living = [number for number in function.queues[priority] if number in table.jobs]
            assert sorted(living) == sorted(waiting)
            assert [table.jobs[number].position for number in living] == sorted(
                table.jobs[number].position for number in living
            )


def _sessions_and_jobs_agree(table: JobTable) -> None:
    nodes = _nodes(table)
    sessions = [session for node in nodes for session in node.sessions.values()]
    for node in nodes:
        for number, session in node.sessions.items():
            assert session.number == number
            assert session.node is node
            assert table.changes.session_page(session.serial).members[session.serial] is session
            assert session.page is table.changes.session_page(session.serial)
            assert session.holding == {job.number for job in table.jobs.values() if job.holder is session}
            assert set(session.listening) == {job.number for job in table.jobs.values() if session in job.listeners}
            assert session.joined or list(session.listening) == sorted(session.listening)
            assert set(session.limits) <= set(session.abilities)
            assert all(session.limits.values())
            assert len(set(session.abilities.values())) == len(session.abilities)
            assert all(served < session.served for served in session.abilities.values())
            assert not session.parked or table.asleep[session.parked] is session
    for job in table.jobs.values():
        assert len(set(map(id, job.listeners))) == len(job.listeners)
    for function in table.functions.values():
        workers = [session for session in sessions if function.name in session.abilities]
        assert function.workers == len(workers)
        parked = [session for session in workers if session.parked and session.node.up]
        assert asleep(table, function) == sorted(parked, key=lambda session: session.parked)
        assert function.sleepers == sorted(function.sleepers)
        assert len(function.sleepers) <= 2 * max(function.workers, len(parked)) + 100
    assert table.abilities == sum(len(session.abilities) for session in sessions)
    assert set(table.asleep.values()) == {session for session in sessions if session.parked}


def _keys_stand_for_living_jobs(table: JobTable) -> None:
    keyed = [job for job in table.jobs.values() if job.key is not None]
    assert len({(job.key, job.function.name) for job in keyed}) == len(keyed)
    assert len(table.keys) == len({job.key for job in keyed})
    for job in keyed:
        assert table.keys.find(job.key, job.function.name) == job.number
        found = table.find_unique(job.unique)
        oldest = min(other.number for other in keyed if other.unique == job.unique)
        assert (found is None) if job.unique == b"-" else (found is not None and found.number == oldest)


def _nothing_of_the_past_is_kept(table: JobTable) -> None:
    open_sessions = {id(session) for node in _nodes(table) for session in node.sessions.values()}
    pages = table.changes.pages
    members = [member for page in pages.values() for member in page.members.values()]
    assert {id(member) for member in members if isinstance(member, Session)} == open_sessions
    assert all(page.members for page in pages.values())
    for name, function in table.functions.items():
        assert function.name == name
        assert not function.idle, f"{name!r} stands for nothing"
        has_any = function.created or any(function.limits)
        assert bool(function.serial) == has_any
        if has_any:
            assert table.changes.settings_page(function.serial).members[function.serial] is function
    for thing in reachable(table):
        if isinstance(thing, Job):
            assert table.jobs.get(thing.number) is thing, f"job {thing.number} has ended and is still referred to"
        if isinstance(thing, Session):
            assert id(thing) in open_sessions, f"session {name_of(thing)} is closed and still referred to"


def _a_deadline_is_known_for_whatever_has_one(table: JobTable) -> None:
    times = [job.due or job.deadline for job in table.jobs.values() if job.due or job.deadline]
    if times:
        following = table.next_deadline()
        assert following is not None
        assert following <= min(times)
