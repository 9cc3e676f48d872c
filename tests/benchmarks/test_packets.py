"""The packets of the load generator are those the protocol package reads."""

import pytest

from benchmarks.packets import SUBMIT_JOB, SUBMIT_JOB_BG, SubmitFeed, request

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

    def test_a_function_name_with_a_percent_sign_is_sent_as_it_is(self):
        (packet,) = SubmitFeed(SUBMIT_JOB, b"%d", range(1), SMALL).take(1)
        assert bytes(packet).count(b"%d\0\0") == 1

    def test_a_payload_without_room_for_an_id_is_refused(self):
        with pytest.raises(ValueError, match="no room for a job id"):
            SubmitFeed(SUBMIT_JOB, b"f", range(1), 9)
