"""What a node says of itself, and what is made of what others say."""

import pytest
from zeroconf import ServiceInfo

from cluster.discovery import Announcement, Endpoint
from cluster.discovery.multicast import PEER_SERVICE
from cluster.discovery.multicast.announcement import endpoints_of

ALPHA = Announcement(node="alpha-0a1b2c3d", name="alpha", cluster="orders", version="0.1.0")


def service(text=ALPHA.text, port=4731, hosts=("192.0.2.7",)):
    return ServiceInfo(
        PEER_SERVICE, f"{ALPHA.label}.{PEER_SERVICE}", port=port, properties=text, parsed_addresses=list(hosts)
    )


class TestWhatANodeSays:
    def test_its_text_record_begins_with_the_version_of_its_keys(self):
        assert list(ALPHA.text.items()) == [
            ("txtvers", "1"),
            ("cluster", "orders"),
            ("node", "alpha-0a1b2c3d"),
            ("name", "alpha"),
            ("version", "0.1.0"),
        ]

    @pytest.mark.parametrize("key", ALPHA.text)
    def test_its_keys_are_as_short_as_rfc_6763_asks(self, key):
        assert len(key) <= 9

    @pytest.mark.parametrize(
        ("node", "label"),
        [
            ("alpha-0a1b2c3d", "alpha-0a1b2c3d"),
            ("db_1.example.com-0a1b2c3d", "db-1-example-com-0a1b2c3d"),
            ("x" * 63 + "-0a1b2c3d", "x" * 54 + "-0a1b2c3d"),
        ],
    )
    def test_its_instance_name_is_one_label_that_ends_in_the_random_part(self, node, label):
        assert Announcement(node=node, name="", cluster="", version="").label == label


class TestWhatOthersSay:
    def test_a_node_of_the_same_cluster_is_at_each_of_its_addresses_ipv4_first(self):
        said = service(hosts=("fd00::7", "192.0.2.7", "fe80::7"))
        assert endpoints_of(said, "orders") == (Endpoint("192.0.2.7", 4731), Endpoint("fd00::7", 4731))

    def test_keys_are_compared_without_case(self):
        assert endpoints_of(service({"TXTvers": "1", "Cluster": "orders"}), "orders")

    @pytest.mark.parametrize(
        "text",
        [
            {"txtvers": "1", "cluster": "billing"},
            {"txtvers": "1", "cluster": "ORDERS"},
            {"txtvers": "1", "cluster": None},
            {"txtvers": "2", "cluster": "orders"},
            {"cluster": "orders"},
            {},
            b"\xff\xfe",
            b"\x07txtvers",
            {b"txtvers": b"1", b"cluster": b"\xff\xff"},
        ],
    )
    def test_another_cluster_and_what_cannot_be_understood_is_ignored(self, text):
        assert endpoints_of(service(text), "orders") == ()

    def test_an_instance_without_a_port_or_with_none_but_useless_addresses_is_nowhere(self):
        assert endpoints_of(service(port=0), "orders") == ()
        assert endpoints_of(service(hosts=("0.0.0.0", "fe80::1")), "orders") == ()

    def test_of_an_instance_with_very_many_addresses_some_are_taken(self):
        assert len(endpoints_of(service(hosts=[f"192.0.2.{n}" for n in range(1, 100)]), "orders")) == 16
