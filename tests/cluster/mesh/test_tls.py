"""Links over TLS: both ends show a certificate, and the proof of the secret is asked for all the same."""

import contextlib
import os
import ssl

import pytest

from cluster.mesh import Lane, Mesh, TlsError
from tests.cluster.mesh.certificates import Authority
from tests.cluster.mesh.nodes import QUICK, changed, eventually, raw, refusals


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def files(authority, tmp_path):
    return authority.write(tmp_path / "tls", "node")


def shown(node, other):
    """Give the certificate that the other end of a link has shown."""
    return node.link(other).connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)


class TestALinkOverTls:
    async def test_carries_messages(self, nodes, files):
        one, two = await nodes.pair(tls=files)
        sent = [os.urandom(size) for size in (1, 1000, 100_000, 3_000_000)]
        for data in sent:
            one.send(two, data, Lane.REPORTS)
            two.send(one, data, Lane.SNAPSHOTS)
        await one.has_got(len(sent))
        await two.has_got(len(sent))
        assert [data for _, _, data in one.got] == sent
        assert [data for _, _, data in two.got] == sent

    async def test_is_encrypted_and_both_ends_show_a_certificate(self, nodes, files):
        one, two = await nodes.pair(tls=files)
        for node, other in ((one, two), (two, one)):
            assert node.link(other).connection.transport.get_extra_info("cipher")[1] == "TLSv1.3"
            assert shown(node, other)

    async def test_comes_back_after_it_was_cut(self, nodes, files):
        one, two = await nodes.pair(tls=files)
        one.break_link(two)
        await one.told_times(2, "up", "b")
        await two.told_times(2, "up", "a")

    async def test_tells_an_ended_process_from_one_that_was_reset(self, nodes, files):
        one, two = await nodes.pair(tls=files)
        one.break_link(two)
        await one.told_times(2, "up", "b")
        assert one.proofs == two.proofs == []
        await one.watches("b")
        await two.die()
        await one.told_of("ended", "b")
        assert one.proofs == [("b", "b-1")]

    async def test_is_ended_with_a_goodbye(self, nodes, files):
        one, two = await nodes.pair(tls=files)
        one.send(two, b"last words")
        await one.mesh.close()
        await two.told_of("ended", "a")
        assert two.got == [("a", Lane.CONSENSUS, b"last words")]

    async def test_without_a_secret_is_a_link_as_well(self, nodes, files):
        one, two = await nodes.pair(tls=files, secret=None)
        assert one.send(two, b"x")

    async def test_needs_the_secret_where_there_is_one(self, nodes, files, logs):
        one, two = await nodes.start("a", tls=files), await nodes.start("b", tls=files, secret=b"another")
        one.dial(two)
        await eventually(lambda: len(refusals(logs)) >= 2)
        assert all("do not have the same cluster secret" in line["reason"] for line in refusals(logs))

    async def test_is_refused_to_who_shows_a_certificate_of_another_authority(self, nodes, files, tmp_path, logs):
        other = Authority("other").write(tmp_path / "other", "node")
        one, two = await nodes.start("a", tls=files), await nodes.start("b", tls=other)
        two.dial(one)
        one.dial(two)
        await eventually(lambda: len(refusals(logs)) >= 2)
        assert all(line["reason"].startswith("TLS: ") for line in refusals(logs))
        assert one.told == two.told == []

    async def test_that_the_dialled_end_does_not_want_is_told_at_the_dialling_end(self, nodes, files, tmp_path, logs):
        other = Authority("other").write(tmp_path / "other", "node")
        one, two = await nodes.start("a", tls=files), await nodes.start("b", tls=changed(other, ca=files.ca))
        two.dial(one)
        await eventually(lambda: two.mesh.troubles)
        assert "does not trust this node's certificate" in two.mesh.troubles[f"127.0.0.1:{one.port}"]
        assert all(line["reason"] != "TLS: " for line in refusals(logs))

    async def test_is_refused_to_who_shows_no_certificate(self, nodes, files, logs):
        one = await nodes.start("a", tls=files)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        answer = b""
        with contextlib.suppress(OSError):
            async with raw(one.port, ssl=context) as (reader, writer):
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                answer = await reader.read()
        assert answer == b""
        await eventually(lambda: refusals(logs))
        assert "TLS: " in refusals(logs)[0]["reason"]

    async def test_does_not_come_about_with_a_node_that_speaks_none(self, nodes, files, logs):
        one, two = await nodes.start("a", tls=files), await nodes.start("b")
        one.dial(two)
        two.dial(one)
        await eventually(lambda: any(line["reason"].startswith("TLS: ") for line in refusals(logs)))
        await eventually(lambda: any("given no --mesh-cert" in line["reason"] for line in refusals(logs)))
        assert one.told == two.told == []

    async def test_that_is_begun_and_not_gone_on_with_ends_at_the_deadline(self, nodes, files, logs):
        one = await nodes.start("a", tls=files, timing=changed(QUICK, handshake=0.2))
        async with raw(one.port) as (reader, writer):
            writer.write(b"\x16\x03\x01")
            assert await reader.read() == b""
        await eventually(lambda: one.mesh._reception.unproven == 0)
        await eventually(lambda: refusals(logs))


class TestCertificates:
    async def test_that_were_renewed_are_shown_at_the_next_connection(self, nodes, authority, files, tmp_path, logs):
        mine = authority.write(tmp_path / "mine", "other")
        one, two = await nodes.start("a", tls=mine), await nodes.start("b", tls=files)
        one.dial(two)
        await one.linked(two)
        await two.linked(one)
        old, theirs = shown(one, two), shown(two, one)
        authority.write(tmp_path / "tls", "node")
        one.break_link(two)
        await one.told_times(2, "up", "b")
        await two.told_times(2, "up", "a")
        assert shown(one, two) != old
        assert shown(two, one) == theirs
        assert any(line["event"] == "certificates_reloaded" for line in logs)

    async def test_that_cannot_be_read_any_more_leave_those_from_before(self, nodes, files, logs):
        one, two = await nodes.pair(tls=files)
        old = shown(one, two)
        files.key.write_text("not a key")
        one.break_link(two)
        await one.told_times(2, "up", "b")
        await two.told_times(2, "up", "a")
        assert shown(one, two) == old
        # Once for each node, however many connections there are.
        assert 1 <= [line["event"] for line in logs].count("certificates_not_reloaded") <= 2

    @pytest.mark.parametrize("which", ["cert", "key", "ca"])
    def test_that_cannot_be_read_at_the_start_are_an_error_that_names_the_file(self, files, which):
        getattr(files, which).unlink()
        with pytest.raises(TlsError, match=f"{which}.pem"):
            Mesh(None, None, secret=None, tls=files)
