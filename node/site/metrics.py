"""A scrape: the figures of one moment in Prometheus's text, under the names that gearman exporters made usual.

The names `gearman_*` and their meaning are those of the exporters for gearmand (bakins/gearman-exporter), so that
dashboards and alerts made for them go on working; what only a cluster has is `gearmesh_*`. Everything is read when it
is asked for: nothing is counted on a job's way. Not for: reading the table (`figures`).
"""

import platform
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from cluster.raft import Role
from node.site.state import ClusterStatus, MemberRole, RaftFigures, Resources, TableFigures

_OF_THE_PROCESS: Final = CollectorRegistry(auto_describe=False)
ProcessCollector(registry=_OF_THE_PROCESS)
PlatformCollector(registry=_OF_THE_PROCESS)
GCCollector(registry=_OF_THE_PROCESS)


def exposition(status: ClusterStatus, table: TableFigures | None, accept: str) -> tuple[bytes, str]:
    """Return the metrics and their content type, for the Accept header of whoever asks.

    Touches nothing but its arguments and the process's own figures, so that it can run in a thread.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Moment(status, table))
    registry.register(_OF_THE_PROCESS)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Moment(Collector):
    """The figures of one moment."""

    def __init__(self, status: ClusterStatus, table: TableFigures | None) -> None:
        self._status = status
        self._table = table

    def collect(self) -> Iterator[Metric]:
        """Return them in families."""
        yield from _node(self._status)
        if self._table is not None:
            yield from _table(self._table)
        yield from _members(self._status)
        if self._status.raft is not None:
            yield from _raft(self._status, self._status.raft)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)


def _info(metric: str, what: str, /, **labels: str) -> Metric:
    family = GaugeMetricFamily(metric, what, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


def _node(status: ClusterStatus) -> Iterator[Metric]:
    node = status.node
    yield _gauge("gearman_up", "Whether this node is ready for Gearman clients and workers.", node.ready)
    yield _info("gearman_version_info", "The version of the server.", version=node.version)
    yield _info(
        "gearmesh_build_info",
        "The version of the program and of what it runs on.",
        version=node.version,
        python=platform.python_version(),
        implementation=platform.python_implementation(),
    )
    yield _info(
        "gearmesh_node_info",
        "This node and its cluster.",
        node=node.id,
        name=node.name,
        cluster=status.cluster,
        group=status.group,
    )
    yield _gauge("gearmesh_connections", "Gearman connections of this node.", node.connections)
    if node.resources is not None:
        yield from _resources(node.resources)


def _resources(resources: Resources) -> Iterator[Metric]:
    if resources.memory is not None:
        yield _gauge("gearmesh_memory_bytes", "Memory that this node uses.", resources.memory)
    yield _gauge(
        "gearmesh_memory_limit_bytes",
        "Memory in use from which on the cluster takes no new job (--max-memory); 0: no bound.",
        resources.memory_limit,
    )
    yield _gauge("gearmesh_disk_free_bytes", "Free space for this node's data directory.", resources.disk_free)
    yield _gauge(
        "gearmesh_disk_free_limit_bytes",
        "Free space below which the cluster takes no new job (--min-free-disk); 0: no bound.",
        resources.disk_free_limit,
    )


def _table(table: TableFigures) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("gearman_jobs", "Jobs queued or running, in the whole cluster.", labels=["function"])
    running = GaugeMetricFamily("gearman_jobs_running", "Jobs that run.", labels=["function"])
    waiting = GaugeMetricFamily("gearman_jobs_waiting", "Jobs that do not run yet.", labels=["function"])
    workers = GaugeMetricFamily(
        "gearman_workers", "Connections of workers that can do the function.", labels=["function"]
    )
    for figures in table.by_function:
        labels = [figures.function]
        jobs.add_metric(labels, figures.jobs)
        running.add_metric(labels, figures.running)
        waiting.add_metric(labels, figures.jobs - figures.running)
        workers.add_metric(labels, figures.workers)
    yield from (jobs, running, waiting, workers)
    yield CounterMetricFamily(
        "gearmesh_jobs_accepted", "Jobs that the cluster ever took, coalesced ones counted once.", value=table.created
    )
    yield _gauge("gearmesh_jobs", "Jobs in the table.", table.jobs)
    yield _gauge("gearmesh_functions", "Functions in the table.", table.functions)
    yield _gauge("gearmesh_sessions", "Connections that work or wait, in the whole cluster.", table.sessions)


def _members(status: ClusterStatus) -> Iterator[Metric]:
    members = GaugeMetricFamily("gearmesh_cluster_members", "Members of the group.", labels=["role"])
    for role in MemberRole:
        members.add_metric([role], sum(member.role is role for member in status.members))
    yield members
    up = GaugeMetricFamily(
        "gearmesh_cluster_member_up", "Whether this node is linked to the member, or is it.", labels=["node", "name"]
    )
    for member in status.members:
        up.add_metric([member.id, member.name], member.up)
    yield up
    alarm = GaugeMetricFamily(
        "gearmesh_alarm",
        "Whether the member is short of a resource: while any is, the cluster takes no new job.",
        labels=["node", "name", "resource"],
    )
    for member in status.members:
        raised = {figures.resource for figures in member.alarms}
        for resource in ("memory", "disk"):
            alarm.add_metric([member.id, member.name, resource], resource in raised)
    yield alarm


def _raft(status: ClusterStatus, raft: RaftFigures) -> Iterator[Metric]:
    yield _gauge("gearmesh_raft_term", "The term of consensus.", status.term)
    role = GaugeMetricFamily("gearmesh_raft_role", "1 for what this node is now, 0 for the rest.", labels=["role"])
    for possible in Role:
        role.add_metric([possible.value], possible is raft.role)
    yield role
    yield _gauge("gearmesh_raft_is_leader", "Whether this node leads.", raft.role is Role.LEADER)
    yield _gauge("gearmesh_raft_leader_known", "Whether this node knows who leads.", status.leader is not None)
    yield _gauge("gearmesh_raft_last_index", "The last entry of this node's log.", raft.last_index)
    yield _gauge("gearmesh_raft_commit_index", "The last entry known to be committed.", raft.commit_index)
    yield _gauge("gearmesh_raft_applied_index", "The last entry in this node's job table.", raft.applied_index)
    yield CounterMetricFamily(
        "gearmesh_raft_leader_changes",
        "Times that a leader came into office, since this node started.",
        value=raft.leader_changes,
    )
    yield _gauge(
        "gearmesh_raft_lag_seconds",
        "For how long this node's job table has been missing something that the leader had committed; 0: nothing.",
        raft.lag_ms / 1000,
    )
    lag = GaugeMetricFamily(
        "gearmesh_raft_follower_lag",
        "Entries that a follower does not have; told by the leader.",
        labels=["node", "name"],
    )
    for member in status.members:
        if member.lag is not None and not member.this:
            lag.add_metric([member.id, member.name], member.lag)
    yield lag
