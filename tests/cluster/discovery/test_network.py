"""Which interfaces are spoken on and which addresses are announced, by what the node listens on."""

import pytest

from cluster.discovery.multicast.network import (
    Interface,
    Network,
    announced_hosts,
    host_interfaces,
    local_hosts,
    network_for,
)

LO = Interface(1, ("127.0.0.1", "::1"))
ETH = Interface(2, ("192.0.2.7", "fd00::7", "fe80::7%2"))
DOCKER = Interface(3, ("172.17.0.1",))
SIX = Interface(4, ("fd01::7", "fe80::8%4"))


class TestNodesOnEveryAddress:
    def test_they_speak_on_every_interface_and_announce_what_others_can_reach(self):
        network = network_for("0.0.0.0", [LO, ETH, DOCKER])
        assert network == Network(("127.0.0.1", "192.0.2.7", "172.17.0.1"), ("192.0.2.7", "172.17.0.1"))

    def test_with_ipv6_as_well_they_announce_both_ipv4_first(self):
        network = network_for("::", [LO, ETH, SIX])
        assert network.interfaces == ("127.0.0.1", 1, "192.0.2.7", 2, 4)
        assert network.hosts == ("192.0.2.7", "fd00::7", "fd01::7")

    def test_on_a_host_with_loopback_alone_they_announce_that(self):
        assert network_for("0.0.0.0", [LO]) == Network(("127.0.0.1",), ("127.0.0.1",))

    def test_on_a_host_without_any_address_there_is_nowhere_to_announce(self):
        assert network_for("0.0.0.0", []) == Network((), ())


class TestNodesOnOneAddress:
    @pytest.mark.parametrize("bound", ["127.0.0.1", "127.0.0.2", "::1"])
    def test_on_loopback_they_say_nothing_to_other_hosts(self, bound):
        assert network_for(bound, [LO, ETH]) == Network(("127.0.0.1",), (bound,))

    def test_they_speak_on_the_interface_that_has_the_address(self):
        assert network_for("192.0.2.7", [LO, ETH, DOCKER]) == Network(("192.0.2.7",), ("192.0.2.7",))
        assert network_for("fd00::7", [LO, ETH, DOCKER]) == Network((2,), ("fd00::7",))

    def test_when_the_address_is_gone_there_is_nowhere_to_announce(self):
        assert network_for("192.0.2.99", [LO, ETH]) == Network((), ())


class TestListenersForClients:
    def test_one_on_every_address_is_announced_at_each_but_loopback(self):
        assert announced_hosts("0.0.0.0", [LO, ETH, DOCKER]) == ("192.0.2.7", "172.17.0.1")

    def test_one_on_a_single_address_is_announced_there(self):
        assert announced_hosts("192.0.2.7", [LO, ETH]) == ("192.0.2.7",)


class TestThisHost:
    def test_it_has_a_loopback_interface(self):
        assert any("127.0.0.1" in interface.hosts for interface in host_interfaces())
        assert "127.0.0.1" in local_hosts()
