"""Ways to look at a `JobTable` from outside: its visible state, its effects as plain tuples, everything it refers to.

Not for: judging. `naive` says what the state should be, `soundness` what must hold in any state.
"""

import gc
from collections import deque

from cluster.jobs import (
    Assigned,
    Concluded,
    Created,
    Effect,
    Ended,
    Failed,
    Function,
    Incapable,
    Job,
    JobState,
    JobTable,
    Joined,
    NoJob,
    Refused,
    Reserved,
    Revoked,
    Session,
    Settled,
)


def name_of(session: Session) -> tuple[str, int]:
    return session.node.name, session.number


def shown(job: Job) -> tuple[bytes, ...]:
    """Give what a worker gets to see of a job."""
    return job.handle, job.function.name, job.unique, job.workload, job.reducer


def describe(effect: Effect) -> tuple:
    """Give an effect as it is at this moment: it refers to live jobs."""
    match effect:
        case Created():
            again = ("again",) if effect.again else ()
            return ("created", effect.session, effect.job.number, effect.job.handle, *again)
        case Joined():
            again = ("again",) if effect.again else ()
            holder = (effect.node, effect.incarnation)
            return ("joined", effect.session, effect.job.number, effect.job.handle, holder, *again)
        case Refused():
            held = ("held",) if effect.submit is not None else ()
            return ("refused", effect.session, effect.refusal.name, *held)
        case Assigned():
            return ("assigned", effect.session, effect.job.number, shown(effect.job))
        case NoJob():
            return ("no job", effect.session)
        case Reserved():
            return ("reserved", effect.session, effect.job.number, shown(effect.job), effect.wake)
        case Revoked():
            return ("revoked", effect.session, effect.job.number, effect.why.name)
        case Failed():
            return ("failed", effect.session, effect.job.number)
        case Ended():
            return (
                "ended",
                effect.session,
                effect.job.number,
                [name_of(listener) for listener in effect.job.listeners],
            )
        case Concluded():
            return ("concluded", effect.session, effect.job.number, (effect.node, effect.incarnation))
        case Incapable():
            return ("incapable", effect.session, effect.function)
        case Settled():
            return ("settled", effect.session, effect.outcome.name)
    raise AssertionError(effect)


def asleep(table: JobTable, function: Function) -> list[Session]:
    """Give the sleeping workers of a function, the last one parked at the end."""
    found = [table.asleep[parking] for parking in sorted(set(function.sleepers)) if parking in table.asleep]
    return [session for session in found if function.name in session.abilities and session.node.up]


def queue(table: JobTable, function: bytes, priority: int) -> list[int]:
    """Give the numbers of the waiting jobs in the order in which they will be taken."""
    waiting = [
        job
        for job in table.jobs.values()
        if job.function.name == function and job.priority == priority and job.state is JobState.QUEUED
    ]
    return [job.number for job in sorted(waiting, key=lambda job: job.position)]


def observe(table: JobTable) -> dict:
    """Give everything visible of the table, through the attributes that its docstrings name."""
    return {
        "table": (table.now, table.job_retries, table.max_functions, table.last_job, len(table.departing)),
        "nodes": {
            name: (
                *(node.incarnation, node.last, node.up, node.handle_prefix),
                *(node.max_packet, node.process, node.timeout, node.alarms),
            )
            for name, node in table.nodes.items()
            if node.incarnation > 0
        },
        "sessions": {
            name_of(session): {
                "about": (session.peer, session.client_id),
                "abilities": {name: session.limits.get(name, 0) for name in session.abilities},
                "asleep": bool(session.parked),
                "holds": set(session.holding),
                "listens": set(session.listening),
                "waits for": table.waiting.best_priority(session),
            }
            for node in table.nodes.values()
            if node.up
            for session in node.sessions.values()
        },
        "functions": {
            name: {
                "limits": tuple(function.limits),
                "total": function.total,
                "running": function.running,
                "pending": list(function.pending),
                "waiting": list(function.waiting),
                "workers": function.workers,
                "sleepers": [name_of(session) for session in asleep(table, function)],
            }
            for name, function in table.functions.items()
        },
        "jobs": {
            number: {
                "shown": shown(job),
                "kind": (job.priority, job.background),
                "state": job.state.name,
                "times": (job.due, job.deadline),
                "attempts": job.attempts,
                "progress": (job.numerator, job.denominator),
                "holder": None if job.holder is None else name_of(job.holder),
                "listeners": [name_of(listener) for listener in job.listeners],
            }
            for number, job in table.jobs.items()
        },
        "queues": {
            (name, priority): queue(table, name, priority) for name in table.functions for priority in (0, 1, 2)
        },
    }


_CONTAINERS = (dict, list, tuple, set, frozenset, deque)


def reachable(table: JobTable) -> list[object]:
    """Give every object that the table keeps alive: through containers and our own objects, however deep."""
    seen: dict[int, object] = {id(table): table}
    frontier: list[object] = [table]
    while frontier:
        found = []
        for thing in gc.get_referents(*frontier):
            if id(thing) in seen or isinstance(thing, type):
                continue
            seen[id(thing)] = thing
            if isinstance(thing, _CONTAINERS) or type(thing).__module__.startswith("cluster.jobs"):
                found.append(thing)
        frontier = found
    return list(seen.values())
