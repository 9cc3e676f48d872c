import pytest

from protocol import Fault, LocalProtocolError, ProtocolError, RemoteProtocolError


class TestErrors:
    def test_a_remote_error_carries_the_fault_and_says_it_in_words(self):
        fault = Fault(b"QUEUE_ERROR", b"Job queue is full \xff", fatal=False)
        error = RemoteProtocolError(fault)
        assert error.fault is fault
        assert str(error) == "QUEUE_ERROR: Job queue is full \ufffd"

    def test_who_catches_the_base_catches_both_sides_faults(self):
        assert issubclass(LocalProtocolError, ProtocolError)
        assert issubclass(RemoteProtocolError, ProtocolError)

    def test_a_fault_cannot_be_changed_once_made(self):
        fault = Fault(b"c", b"t", fatal=False)
        with pytest.raises(AttributeError):
            fault.fatal = True
