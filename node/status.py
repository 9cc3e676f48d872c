"""What the site shows of this node, and what it passes on (`node.site.ClusterState`).

Not for: HTTP (`node.site`), or carrying out what operators want (`node.membership`).
"""

from typing import Final

from cluster.discovery.endpoint import is_wildcard
from cluster.formation import Add, Remove, Transfer
from cluster.formation.messages import Order
from cluster.jobs import Resource
from node.configuration import Address
from node.configuration import Configuration as Settings
from node.driver import OLD, Driver
from node.gateway import Gateway
from node.membership import Membership, OrderRefusedError
from node.monitor import Monitor
from node.peers import Peers
from node.site import (
    AlarmFigures,
    ChangeRefusedError,
    ClusterStatus,
    Member,
    MemberRole,
    RaftFigures,
    Resources,
    TableFigures,
    ThisNode,
    read_table,
)
from node.version import VERSION

_TROUBLES: Final = 3
"""Addresses without a link that are named."""


class NodeStatus:
    """One node's. What comes into being later is set later."""

    def __init__(self, settings: Settings, node: str) -> None:
        self.listening = False
        """Whether the Gearman listeners are open."""
        self.stopping = False
        self.membership: Membership | None = None
        self.peers: Peers | None = None
        self.driver: Driver | None = None
        self.gateway: Gateway | None = None
        self.monitor: Monitor | None = None
        self.mesh_address: Address | None = None
        self.group = ""
        """The id of the group, once there is one."""
        self._settings = settings
        self._node = node

    def status(self) -> ClusterStatus:
        """Return the cluster as it is now."""
        driver = self.driver
        reason = self._reason()
        if reason is not None and not self.stopping:
            reason += self._troubles()
        return ClusterStatus(
            cluster=self._settings.cluster,
            group=self.group,
            node=ThisNode(
                id=self._node,
                name=self._settings.name,
                version=VERSION,
                ready=reason is None,
                reason=reason,
                connections=len(self.gateway.connections) if self.gateway is not None else 0,
                resources=self._resources(),
                warnings=self._warnings(),
            ),
            leader=(driver.raft.leader or None) if driver is not None else None,
            term=driver.raft.term if driver is not None else 0,
            members=self._members(driver) if driver is not None else (),
            raft=self._figures(driver) if driver is not None else None,
        )

    async def table_figures(self) -> TableFigures | None:
        """Return the job table in numbers."""
        return None if self.driver is None else await read_table(self.driver.table)

    async def add(self, address: Address) -> str:
        """Look for a node at this mesh address."""
        await self._order(Add(address.host, address.port))
        return f"Looking for a node at {address}; it joins once it is found there and knows the cluster's secret."

    async def remove(self, node: str, *, force: bool) -> str:
        """Take a member out of the group."""
        await self._order(Remove(node, force))
        return f"{node} is not in the group any more."

    async def transfer(self, to: str | None) -> str:
        """Hand leadership over."""
        driver = self.driver
        if driver is None:
            raise ChangeRefusedError("This node has no group yet.")
        heir = to if to is not None else self._heir(driver)
        await self._order(Transfer(heir))
        return f"{heir} leads."

    async def _order(self, order: Order) -> None:
        if self.membership is None:
            raise ChangeRefusedError(
                "This node stays alone: it was given no secret to share with others. Restart it with --secret-file."
            )
        try:
            await self.membership.order(order)
        except OrderRefusedError as error:
            raise ChangeRefusedError(str(error)) from error

    def quorum_linked(self, driver: Driver) -> bool:
        """Tell whether this node can reach a majority of the voters, so that anything can be agreed upon."""
        voters = driver.raft.configuration.voters
        linked = self.peers.mesh.peers if self.peers is not None else {}
        return sum(node == driver.name or node in linked for node in voters) > len(voters) // 2

    def _heir(self, driver: Driver) -> str:
        """Choose the voter that is best prepared, as far as this node knows."""
        voters = [node for node in driver.raft.configuration.voters if node != driver.raft.leader]
        if not voters:
            raise ChangeRefusedError("There is no other voter to hand leadership to.")
        followers = driver.raft.followers
        linked = self.peers.mesh.peers if self.peers is not None else {}
        return max(
            voters,
            key=lambda node: (
                node == driver.name or node in linked,
                followers[node].match if node in followers else 0,
                node,
            ),
        )

    def why_not_serving(self) -> str:
        """Tell why the node does not serve, as `/readyz` does."""
        return (self._reason() or "this node cannot serve at the moment") + self._troubles()

    def _reason(self) -> str | None:
        """Tell why the node is not ready."""
        driver, membership = self.driver, self.membership
        if self.stopping:
            return "this node is stopping"
        if membership is not None and membership.reason:
            return membership.reason
        if driver is None:
            return "recovering"
        if not driver.raft.leader:
            return "no leader is known: a majority of the group's voters cannot be reached, or an election is on"
        if not driver.serving and driver.raft.mute:
            return "its disk has not taken the present term: see what holds up the disk, or whether it is full"
        if not driver.serving:
            return "catching up with the group"
        if driver.lags:
            return (
                f"this node's table is {driver.lag / 1000:.1f} s old: see what slows its processor, its disk or its "
                f"network. It serves those who are connected, and is ready again when it has caught up"
            )
        if driver.stuck:
            return f"commands of this node have not been applied for {driver.stuck:.1f} s: {self._obstacle(driver)}"
        return None if self.listening else "about to listen"

    def _obstacle(self, driver: Driver) -> str:
        """Tell what keeps this node's commands from being applied, as far as is known."""
        if driver.alone:
            return "its disk does not finish a write"
        if driver.lag > OLD * 1000:
            return f"its table is {driver.lag / 1000:.1f} s old"
        if driver.leads:
            return "it leads, and too few nodes take what it sends"
        return f"the leader {self._name_of(driver.raft.leader)} makes no progress"

    def _resources(self) -> Resources | None:
        monitor = self.monitor
        if monitor is None:
            return None
        marks = monitor.alarms.marks
        return Resources(
            memory=monitor.used,
            memory_limit=marks.memory,
            disk_free=monitor.room.free,
            disk_free_limit=marks.disk,
        )

    def _warnings(self) -> tuple[str, ...]:
        """Tell what keeps the cluster from doing all that it could, though this node serves."""
        if self.gateway is None:
            return ()
        short, mismatch = self.gateway.shortage.reason(), self.gateway.packets.warning
        jobs = f"no new job is taken: {short}" if short is not None else None
        return tuple(warning for warning in (jobs, mismatch) if warning is not None)

    def _troubles(self) -> str:
        """Tell why there are no links where they were looked for: often that is the reason of the reason."""
        if self.peers is None or (self.membership is not None and self.membership.removed):
            return ""
        troubles = self.peers.mesh.troubles
        shown = [f"; no link with {address}: {why}" for address, why in troubles.items()]
        return "".join(shown[:_TROUBLES])

    def _members(self, driver: Driver) -> tuple[Member, ...]:
        raft, followers = driver.raft, driver.raft.followers
        linked = self.peers.mesh.peers if self.peers is not None else {}

        def lag(node: str) -> int | None:
            if node == driver.name:
                return raft.last_index - raft.stable_index if driver.leads else None
            return raft.last_index - followers[node].match if node in followers else None

        def address(node: str) -> str | None:
            if node == driver.name:
                own = self.mesh_address
                return str(own) if own is not None and not is_wildcard(own.host) else None
            return str(linked[node].address) if node in linked else None

        def alarms(node: str) -> tuple[AlarmFigures, ...]:
            known = driver.table.nodes.get(node)
            raised = {alarm.resource: (alarm.found, alarm.mark) for alarm in driver.alarms.values()}
            if node != driver.name:
                raised = known.alarms if known is not None else {}
            return tuple(
                AlarmFigures(resource=Resource(resource).name.lower(), found=found, limit=mark)
                for resource, (found, mark) in sorted(raised.items())
            )

        return tuple(
            Member(
                id=node,
                name=self._name_of(node),
                role=MemberRole.VOTER if raft.configuration.votes(node) else MemberRole.LEARNER,
                address=address(node),
                up=node == driver.name or node in linked,
                lag=lag(node),
                this=node == driver.name,
                alarms=alarms(node),
            )
            for node in raft.configuration.members
        )

    def _name_of(self, node: str) -> str:
        if node == self._node:
            return self._settings.name
        return self.membership.name_of(node) if self.membership is not None else node

    @staticmethod
    def _figures(driver: Driver) -> RaftFigures:
        raft = driver.raft
        return RaftFigures(
            role=raft.role,
            last_index=raft.last_index,
            commit_index=raft.commit,
            applied_index=raft.applied_index,
            leader_changes=driver.leader_changes,
            lag_ms=driver.lag,
        )
