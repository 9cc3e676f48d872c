"""Multicast DNS (RFC 6762) and service discovery by it (RFC 6763)."""

from cluster.discovery.multicast.announcement import CLIENT_SERVICE, PEER_SERVICE, Announcement
from cluster.discovery.multicast.source import MulticastSource

__all__ = ["CLIENT_SERVICE", "PEER_SERVICE", "Announcement", "MulticastSource"]
