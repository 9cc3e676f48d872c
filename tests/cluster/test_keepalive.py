"""What a connection is told about the host at its other end: one time for silence and for data that is under way."""

import socket

import pytest

from cluster import keepalive
from cluster.mesh import Timing

SYSTEM_DEFAULT = -1
FIGURES = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}


@pytest.fixture
def accepted():
    """Give the accepted end of a connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        sock, _ = listener.accept()
        with sock:
            yield sock


def option(sock, name):
    return sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))


class TestAConnection:
    def test_that_is_not_armed_has_neither_keepalive_nor_a_bound_for_data_under_way(self, accepted):
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
        assert option(accepted, "TCP_USER_TIMEOUT") == 0

    def test_has_the_figures_it_is_given_and_waits_as_long_for_an_acknowledgement(self, accepted):
        keepalive.arm(accepted, *FIGURES.values())
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert {name: option(accepted, name) for name in FIGURES} == FIGURES
        assert option(accepted, "TCP_USER_TIMEOUT") == (60 + 20 * 3) * 1000

    @pytest.mark.parametrize("left_out", FIGURES)
    def test_goes_by_the_figure_of_the_system_where_none_is_given(self, accepted, left_out):
        systems = option(accepted, left_out)
        keepalive.arm(accepted, *(SYSTEM_DEFAULT if name == left_out else given for name, given in FIGURES.items()))
        idle, interval, count = (systems if name == left_out else given for name, given in FIGURES.items())
        assert option(accepted, left_out) == systems
        assert option(accepted, "TCP_USER_TIMEOUT") == (idle + interval * count) * 1000

    def test_takes_the_largest_figures_though_their_sum_does_not_fit(self, accepted):
        keepalive.arm(accepted, 32767, 32767, 127)
        assert option(accepted, "TCP_USER_TIMEOUT") == 2**31 - 1

    def test_is_as_good_as_before_where_there_is_no_such_option(self, accepted, monkeypatch):
        monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
        keepalive.arm(accepted, *FIGURES.values())
        assert {name: option(accepted, name) for name in FIGURES} == FIGURES


class TestALink:
    def test_is_lost_to_the_kernel_when_it_is_lost_to_the_mesh(self):
        idle, interval, count = Timing().keepalive
        assert (idle, interval) == (Timing().ping, Timing().ping)
        assert idle + interval * count == Timing().dead

    @pytest.mark.parametrize(
        ("ping", "dead", "figures"),
        [(1.0, 10.0, (1, 1, 9)), (2.0, 5.0, (2, 2, 2)), (0.1, 0.4, (1, 1, 1)), (5.0, 4.0, (5, 5, 1))],
    )
    def test_is_kept_for_whole_pings_of_whole_seconds(self, ping, dead, figures):
        assert Timing(ping=ping, dead=dead).keepalive == figures
