"""The conversation of two nodes, without a network: who is let in, and what nobody can forge."""

import pytest

from cluster.mesh import Introduction
from cluster.mesh.errors import OwnAddressError, ProtocolError, RefusedByPeerError, RefusedError
from cluster.mesh.handshake import Handshake, Hello, Proof, Refused, Role, Standing, Versions, decode, encode, stretch
from tests.cluster.mesh.nodes import changed

KEY = b"k" * 32


def introduction(node, **fields):
    return changed(Introduction(node, f"{node}-name", "tests", 4731, f"{node}-1", "1.2.3"), **fields)


def ends(dialler=None, acceptor=None, *, nonces=(b"d" * 32, b"a" * 32)):
    """Give both ends of a conversation; arguments change one of them."""
    one = {"introduction": introduction("a"), "key": KEY, **(dialler or {})}
    two = {"introduction": introduction("b"), "key": KEY, **(acceptor or {})}
    return Handshake(Role.DIALLER, nonce=nonces[0], **one), Handshake(Role.ACCEPTOR, nonce=nonces[1], **two)


def met(*args, **named):
    dialler, acceptor = ends(*args, **named)
    acceptor.meet(dialler.hello)
    dialler.meet(acceptor.hello)
    return dialler, acceptor


class TestTwoNodesOfOneCluster:
    def test_believe_each_other_and_learn_the_others_standing(self):
        dialler, acceptor = met()
        standing = Standing(7, live=True, instance="b-1")
        assert acceptor.check(dialler.prove(standing)) == standing
        assert dialler.check(acceptor.prove(Standing())) == Standing()

    def test_make_the_same_keys_one_for_each_direction(self):
        dialler, acceptor = met()
        sent = dialler.outgoing().tag(b"body")
        acceptor.incoming().check(sent + b"body")
        assert acceptor.outgoing().tag(b"body") != sent

    def test_without_a_secret_believe_each_other_as_well(self):
        dialler, acceptor = met({"key": None}, {"key": None})
        acceptor.check(dialler.prove(Standing()))
        assert dialler.outgoing().tag(b"body") == b""

    def test_agree_on_the_highest_version_that_both_speak(self):
        dialler, acceptor = met({"versions": Versions(1, 3)}, {"versions": Versions(2, 5)})
        acceptor.check(dialler.prove(Standing()))


class TestAProof:
    def test_with_another_secret_is_refused(self):
        dialler, acceptor = met({"key": b"x" * 32})
        with pytest.raises(RefusedError, match="do not have the same cluster secret"):
            acceptor.check(dialler.prove(Standing()))

    def test_of_an_earlier_conversation_is_refused(self):
        dialler, acceptor = met()
        recorded = dialler.prove(Standing())
        acceptor.check(recorded)
        _, again = ends(nonces=(b"d" * 32, b"A" * 32))
        again.meet(dialler.hello)
        with pytest.raises(RefusedError):
            again.check(recorded)

    def test_that_is_sent_back_is_refused(self):
        dialler, acceptor = met()
        with pytest.raises(RefusedError):
            dialler.check(dialler.prove(Standing()))
        with pytest.raises(RefusedError):
            acceptor.check(acceptor.prove(Standing()))

    def test_with_a_changed_standing_is_refused(self):
        dialler, acceptor = met()
        proof = decode(dialler.prove(Standing(1)))
        with pytest.raises(RefusedError):
            acceptor.check(encode(Proof(proof.mac, Standing(2))))

    def test_is_refused_after_anything_in_the_introductions_was_changed_on_the_way(self):
        for change in (
            {"introduction": introduction("c")},
            {"introduction": introduction("a", port=4732)},
            {"versions": Versions(0, 1)},
            {"nonce": b"D" * 32},
        ):
            dialler, acceptor = ends()
            hello = decode(dialler.hello)
            acceptor.meet(encode(changed(hello, **change)))
            dialler.meet(acceptor.hello)
            with pytest.raises(RefusedError):
                acceptor.check(dialler.prove(Standing()))
            with pytest.raises(RefusedError):
                dialler.check(acceptor.prove(Standing()))

    def test_that_is_something_else_is_refused(self):
        dialler, acceptor = met()
        for data in (b"", b"\xc1", b"\x93abc", dialler.hello, encode(Proof(b"", Standing()))):
            with pytest.raises((ProtocolError, RefusedError)):
                acceptor.check(data)

    def test_does_not_carry_the_secret(self):
        secret = b"a secret that is long enough to be found"
        key = stretch(secret, "tests")
        dialler, acceptor = met({"key": key}, {"key": key})
        said = dialler.hello + acceptor.hello + dialler.prove(Standing()) + acceptor.prove(Standing())
        assert secret not in said
        assert key not in said


class TestAMeetingIsRefused:
    def refusal(self, dialler=None, acceptor=None):
        """Give the reason, which must be the same for both, each seen from its own side."""
        one, two = ends(dialler, acceptor)
        with pytest.raises(RefusedError) as of_two:
            two.meet(one.hello)
        with pytest.raises(RefusedError) as of_one:
            one.meet(two.hello)
        return str(of_one.value), str(of_two.value)

    def test_when_no_version_is_common_with_a_message_that_names_both(self):
        for reason in self.refusal({"versions": Versions(1, 2)}, {"versions": Versions(3, 4)}):
            assert "a-name" in reason
            assert "1 to 2" in reason
            assert "b-name" in reason
            assert "3 to 4" in reason

    def test_when_the_clusters_differ(self):
        of_one, _ = self.refusal(None, {"introduction": introduction("b", cluster="others")})
        assert of_one == "it belongs to cluster 'others', this node to 'tests'"

    def test_when_one_is_insecure(self):
        of_one, of_two = self.refusal({"key": None})
        assert of_one == ("the other node has a cluster secret and this one is insecure: give both the same secret")
        assert of_two == "this node has a cluster secret and the other is insecure: give both the same secret"

    def test_when_both_have_the_same_id(self):
        for reason in self.refusal(None, {"introduction": introduction("a", instance="a-2")}):
            assert "the data directory of another node was copied" in reason

    def test_when_the_other_says_so(self):
        dialler, _ = ends()
        with pytest.raises(RefusedByPeerError, match="no thanks"):
            dialler.meet(encode(Refused("no thanks")))

    def test_quietly_when_it_is_the_node_itself(self):
        dialler, acceptor = ends(None, {"introduction": introduction("a")})
        with pytest.raises(OwnAddressError):
            dialler.meet(acceptor.hello)
        with pytest.raises(OwnAddressError):
            acceptor.meet(dialler.hello)

    def test_when_what_comes_is_no_introduction(self):
        _, acceptor = ends()
        short = encode(Hello(Versions(1, 1), introduction("a"), b"short", secured=True))
        whole = encode(Hello(Versions(1, 1), introduction("a"), b"n" * 32, secured=True))
        no_text = whole.replace(b"a-name", b"\xff\xfe---\xff")
        assert no_text != whole
        for data in (b"", b"\x00" * 100, b"\x91" * 4000, encode(Proof(b"", Standing())), short, no_text):
            with pytest.raises(ProtocolError):
                acceptor.meet(data)

    def test_in_words_that_are_fit_for_a_log(self):
        dialler, _ = ends()
        with pytest.raises(RefusedByPeerError) as caught:
            dialler.meet(encode(Refused("\x1b[2J\n" + "x" * 2000)))
        assert str(caught.value).startswith("?[2J?x")
        assert len(str(caught.value)) == 300


class TestStretching:
    def test_gives_other_keys_for_other_clusters_and_secrets(self):
        assert len({stretch(b"one", "a"), stretch(b"one", "b"), stretch(b"two", "a")}) == 3
