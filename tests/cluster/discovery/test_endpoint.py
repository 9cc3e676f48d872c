"""Which addresses can be connected to, and which are a node's own."""

import pytest

from cluster.discovery import Endpoint, OwnEndpoints
from cluster.discovery.endpoint import reachable


class TestReachable:
    def test_ipv4_comes_first_and_the_order_stays_otherwise(self):
        assert reachable(["fd00::2", "10.0.0.9", "fd00::1", "10.0.0.1"]) == (
            "10.0.0.9",
            "10.0.0.1",
            "fd00::2",
            "fd00::1",
        )

    def test_an_address_that_is_there_twice_counts_once(self):
        assert reachable(["10.0.0.1", "10.0.0.1"]) == ("10.0.0.1",)

    def test_a_link_local_ipv6_address_needs_its_zone(self):
        assert reachable(["fe80::1", "fe80::1%2"]) == ("fe80::1%2",)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "224.0.0.251", "ff02::fb", "a-name", ""])
    def test_what_nobody_can_connect_to_is_left_out(self, host):
        assert reachable([host]) == ()


class TestOwnEndpoints:
    def others(self, own, *endpoints):
        return [str(endpoint) for endpoint in own.without(endpoints)]

    def test_a_node_bound_to_every_address_is_at_each_of_its_host(self):
        own = OwnEndpoints(Endpoint("0.0.0.0", 4731), local=lambda: {"10.0.0.1", "127.0.0.1"})
        seen = [Endpoint("10.0.0.1", 4731), Endpoint("127.0.0.1", 4731), Endpoint("10.0.0.2", 4731)]
        assert self.others(own, *seen) == ["10.0.0.2:4731"]

    def test_another_port_of_the_same_host_is_another_node(self):
        own = OwnEndpoints(Endpoint("0.0.0.0", 4731), local=lambda: {"10.0.0.1"})
        assert self.others(own, Endpoint("10.0.0.1", 4741)) == ["10.0.0.1:4741"]

    def test_a_node_bound_to_one_address_is_at_no_other(self):
        own = OwnEndpoints(Endpoint("127.0.0.1", 4731), local=lambda: {"127.0.0.1", "127.0.0.2"})
        assert self.others(own, Endpoint("127.0.0.1", 4731), Endpoint("127.0.0.2", 4731)) == ["127.0.0.2:4731"]

    def test_the_advertised_address_is_its_own(self):
        own = OwnEndpoints(Endpoint("0.0.0.0", 4731), advertised=Endpoint("198.51.100.7", 14731), local=set)
        assert self.others(own, Endpoint("198.51.100.7", 14731)) == []

    def test_an_endpoint_is_written_as_it_is_configured(self):
        assert str(Endpoint("10.0.0.1", 4731)) == "10.0.0.1:4731"
        assert str(Endpoint("fd00::1", 4731)) == "[fd00::1]:4731"
