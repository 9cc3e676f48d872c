"""The largest packet that a node takes: the smallest of the settings of all members that are up.

A job that one node takes is run by the workers of others, and its result is for clients of any; so what one of them is
not to be burdened with, none takes. Different settings are told to the operator, and part nobody. Not for: reading
packets (`protocol.decoder`).
"""

from typing import Final

import structlog

from cluster.jobs import JobTable
from node.alarms import in_words
from protocol import PacketLimit

SETTING: Final = "--max-packet"

log = structlog.get_logger()


class SmallestSetting:
    """The limit of one node, as the members that are up have it."""

    def __init__(self, node: str, own: int, table: JobTable) -> None:
        self.limit = PacketLimit(own, SETTING)
        """What the decoders of all connections go by."""
        self.warning: str | None = None
        """Says in a sentence, without its end, which members have other settings than this one; None: nobody."""
        self._node = node
        self._own = own
        self._table = table
        self._known: dict[str, int] = {}
        self._told: str | None = None

    def look(self) -> None:
        """See what the members that are up take, as the table knows it."""
        nodes = self._table.nodes.values()
        known = {node.name: node.max_packet for node in nodes if node.up and node.max_packet} | {self._node: self._own}
        if known == self._known:
            return
        self._known = known
        smallest = min(sorted(known), key=lambda node: known[node])
        size = known[smallest]
        self.limit.size = size
        self.limit.setting = SETTING if size == self._own else f"the {SETTING} of node {smallest}"
        others = [node for node in sorted(known) if known[node] != self._own]
        self.warning = self._mismatch(others, size) if others else None
        if self.warning is not None and self.warning != self._told:
            log.warning(
                "max_packet_differs", why=self.warning, advice=f"start all nodes of the cluster with the same {SETTING}"
            )
        self._told = self.warning or self._told

    def _mismatch(self, others: list[str], size: int) -> str:
        settings = ", ".join(f"that of node {node} is {in_words(self._known[node])}" for node in others)
        own = in_words(self._own)
        return f"the {SETTING} of node {self._node} is {own}, {settings}: packets up to {in_words(size)} are taken"
