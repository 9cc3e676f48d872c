"""The packets of the load generator are those the protocol package reads."""

import pytest

from benchmarks.packets import KEY_BYTES, SUBMIT_JOB, SUBMIT_JOB_BG, SubmitFeed, request, unique_key
from protocol import ServerDecoder

SMALL = 100
LARGE = 2 * SubmitFeed.PREPARED_PAYLOAD_LIMIT


def expected(kind, ids, payload_bytes):
    return b"".join(request(kind, b"f\0\0" + (b"%010d" % number).ljust(payload_bytes, b"x")) for number in ids)


class TestSubmitFeed:
    @pytest.mark.parametrize("payload_bytes", [10, SMALL, LARGE])
    @pytest.mark.parametrize("kind", [SUBMIT_JOB, SUBMIT_JOB_BG])
    def test_packets_carry_their_ids_in_order_however_they_are_taken(self, kind, payload_bytes):
        ids = range(40, 60)
        feed = SubmitFeed(kind, b"f", ids, payload_bytes)
        taken = b"".join(piece for count in (1, 3, 0, 16) for piece in feed.take(count))
        assert taken == expected(kind, ids, payload_bytes)
        assert (feed.taken, feed.left) == (20, 0)

    @pytest.mark.parametrize("payload_bytes", [SMALL, LARGE])
    def test_a_keyed_job_has_a_key_of_its_own_that_its_function_and_id_give(self, payload_bytes):
        feed = SubmitFeed(SUBMIT_JOB, b"f", range(40, 60), payload_bytes, keyed=True)
        packets = ServerDecoder().feed(b"".join(piece for count in (3, 17) for piece in feed.take(count)))
        keys = [packet.args[1] for packet in packets]
        assert keys == [unique_key(b"f", number) for number in range(40, 60)]
        assert len(set(keys)) == 20
        assert {len(key) for key in keys} == {KEY_BYTES}
        assert [int(packet.args[2][:10]) for packet in packets] == list(range(40, 60))
        assert unique_key(b"g", 40) != unique_key(b"f", 40)

    def test_a_function_name_with_a_percent_sign_is_sent_as_it_is(self):
        (packet,) = SubmitFeed(SUBMIT_JOB, b"%d", range(1), SMALL).take(1)
        assert bytes(packet).count(b"%d\0\0") == 1

    def test_a_payload_without_room_for_an_id_is_refused(self):
        with pytest.raises(ValueError, match="no room for a job id"):
            SubmitFeed(SUBMIT_JOB, b"f", range(1), 9)
