"""What a stranger can send before it is cut off."""

import pytest

from cluster.mesh.threshold import Threshold


class Server:
    def __init__(self):
        self.heard = []

    def connection_made(self, transport):
        self.heard.append("made")

    def data_received(self, data):
        self.heard.append(data)

    def eof_received(self):
        self.heard.append("eof")
        return True

    def pause_writing(self):
        self.heard.append("pause")

    def resume_writing(self):
        self.heard.append("resume")

    def connection_lost(self, exc):
        self.heard.append(exc)


class Transport:
    aborted = False

    def abort(self):
        self.aborted = True


@pytest.fixture
def transport():
    return Transport()


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def threshold(server, transport):
    threshold = Threshold(server, limit=10)
    threshold.connection_made(transport)
    return threshold


class TestThreshold:
    def test_passes_everything_on_up_to_its_limit(self, threshold, server, transport):
        threshold.data_received(b"12345")
        threshold.pause_writing()
        threshold.resume_writing()
        threshold.data_received(b"67890")
        assert threshold.eof_received() is True
        threshold.connection_lost(None)
        assert server.heard == ["made", b"12345", "pause", "resume", b"67890", "eof", None]
        assert not transport.aborted

    def test_cuts_off_who_sends_more_and_passes_none_of_that_on(self, threshold, server, transport):
        threshold.data_received(b"1234567890")
        threshold.data_received(b"x" * 1_000_000)
        assert transport.aborted
        assert server.heard == ["made", b"1234567890"]

    def test_counts_anew_when_a_request_has_come(self, threshold, server, transport):
        for _ in range(5):
            threshold.data_received(b"1234567890")
            threshold.reset()
        assert not transport.aborted
