"""The settings of a cluster together: the secret, and what goes with what."""

from pathlib import Path
from typing import Any

import pytest

from node.configuration import Address, Configuration, Effective, load
from node.errors import ConfigurationError

SECRET = "correct horse battery staple"


def problems(flags: Any = None, environment: Any = None) -> tuple[str, ...]:
    """Return what `load` complains about."""
    with pytest.raises(ConfigurationError) as raised:
        load(flags, environment or {})
    return raised.value.problems


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"\n  {SECRET}\n")
    path.chmod(0o600)
    return path


def with_secret(**flags: Any) -> Effective:
    return load(flags, {"GEARMESH_SECRET": SECRET})


class TestTheSecret:
    def test_is_what_the_file_holds_without_the_blanks_around_it(self, secret_file):
        effective = load({"secret_file": str(secret_file)}, {})
        assert effective.configuration.secret == SECRET.encode()
        assert effective.warnings == ()

    def test_is_what_the_variable_holds_without_the_blanks_around_it(self):
        assert load({}, {"GEARMESH_SECRET": f" {SECRET}\n"}).configuration.secret == SECRET.encode()

    def test_may_be_any_bytes(self, tmp_path):
        path = tmp_path / "secret"
        path.write_bytes(bytes(range(128, 160)))
        assert load({"secret_file": str(path)}, {}).configuration.secret == bytes(range(128, 160))
        written = bytes(range(128, 160)).decode("utf-8", "surrogateescape")
        assert load({}, {"GEARMESH_SECRET": written}).configuration.secret == bytes(range(128, 160))

    def test_in_both_places_is_refused_with_both_named(self, secret_file):
        assert problems({"secret_file": str(secret_file)}, {"GEARMESH_SECRET": SECRET}) == (
            "GEARMESH_SECRET: --secret-file is given too: say one or the other",
        )

    def test_that_is_too_short_is_refused_without_being_shown(self, tmp_path):
        (problem,) = problems({}, {"GEARMESH_SECRET": "  fifteen bytes.. "[:16]})
        assert problem.startswith("GEARMESH_SECRET: the secret has 14 bytes without surrounding blanks, and needs 16")
        assert "fifteen" not in problem
        path = tmp_path / "secret"
        path.write_text("fifteen bytes..")
        (problem,) = problems({"secret_file": str(path)})
        assert problem.startswith("--secret-file: the secret has 15 bytes")
        assert "fifteen" not in problem

    def test_of_sixteen_bytes_is_long_enough(self):
        assert load({}, {"GEARMESH_SECRET": "s" * 16}).configuration.secret == b"s" * 16

    def test_that_is_a_whole_book_is_refused(self, tmp_path):
        path = tmp_path / "secret"
        path.write_bytes(b"x" * 4097)
        assert problems({"secret_file": str(path)}) == ("--secret-file: is longer than 4096 bytes, which no secret is",)

    def test_that_every_user_can_read_is_worth_a_warning(self, secret_file):
        secret_file.chmod(0o644)
        effective = load({"secret_file": str(secret_file)}, {})
        assert effective.configuration.secret == SECRET.encode()
        assert effective.warnings == (
            f"--secret-file: every user of this host can read {secret_file}: take that right away (chmod o-r)",
        )

    def test_is_never_shown(self, secret_file):
        for effective in (with_secret(), load({"secret_file": str(secret_file)}, {})):
            assert SECRET not in repr(effective)
            assert SECRET not in str(effective.configuration)
            assert SECRET not in effective.as_toml()

    def test_from_the_variable_is_pointed_at_in_the_printed_toml(self):
        assert "# secret_file is not set: GEARMESH_SECRET holds the secret\n" in with_secret().as_toml()

    @pytest.mark.parametrize("key", ["secret", "SECRET"])
    def test_is_no_key_of_a_file(self, key, tmp_path):
        path = tmp_path / "g.toml"
        path.write_text(f'{key} = "{SECRET}"')
        with pytest.raises(ConfigurationError, match="is no setting") as raised:
            load({}, {}, config_file=str(path))
        assert SECRET not in str(raised.value)


class TestCompany:
    def test_is_not_kept_by_a_node_without_a_secret(self):
        assert load({}, {}).configuration.alone
        assert not with_secret().configuration.alone
        assert not load({"insecure": True}, {}).configuration.alone

    @pytest.mark.parametrize("flags", [{"expect": "3"}, {"peer": ["h"]}])
    def test_without_a_secret_is_refused_with_a_way_out(self, flags):
        (problem,) = problems(flags)
        assert problem.startswith(f"--{next(iter(flags))}: ")
        for way in ("--secret-file", "GEARMESH_SECRET", "--insecure"):
            assert way in problem

    def test_is_found_with_a_secret_or_insecurely(self):
        assert with_secret(expect="3", peer=["h"]).configuration.expect == 3
        assert load({"expect": "3", "insecure": True}, {}).configuration.expect == 3

    def test_is_not_refused_because_of_a_secret_that_cannot_be_used(self):
        (problem,) = problems({"expect": "3"}, {"GEARMESH_SECRET": "short"})
        assert problem.startswith("GEARMESH_SECRET: ")

    def test_both_secret_and_insecure_is_refused(self, secret_file):
        assert problems({"insecure": True}, {"GEARMESH_SECRET": SECRET}) == (
            "--insecure: GEARMESH_SECRET is given too: say one or the other",
        )
        assert problems({"insecure": True, "secret_file": str(secret_file)}) == (
            "--insecure: --secret-file is given too: say one or the other",
        )

    @pytest.mark.parametrize(
        ("field", "written"),
        [
            ("discovery", ["dns:h"]),
            ("mesh", "h:1"),
            ("advertise", "h:1"),
            ("node_timeout", "9"),
        ],
    )
    def test_is_what_some_settings_have_no_effect_without(self, field, written):
        (warning,) = load({field: written}, {}).warnings
        assert warning.startswith(f"--{field.replace('_', '-')}: has no effect: without a secret")
        assert with_secret(**{field: written}).warnings == ()

    def test_is_not_missed_by_a_setting_that_repeats_its_default(self):
        assert load({"discovery": ["mdns"], "mesh": "0.0.0.0:4731", "node_timeout": "5"}, {}).warnings == ()


class TestPeers:
    def test_are_looked_for_beside_what_else_is(self):
        effective = with_secret(peer=["h"])
        assert effective.configuration.discovery == ("mdns", "static")
        assert effective.origins["discovery"] == "--peer"

    def test_are_looked_for_though_the_list_does_not_say_so(self):
        effective = with_secret(peer=["h"], discovery=["dns:h"])
        assert effective.configuration.discovery == ("dns:h", "static")
        assert effective.origins["discovery"] == "--discovery and --peer"

    def test_are_looked_for_once(self):
        assert with_secret(peer=["h"], discovery=["static"]).configuration.discovery == ("static",)

    def test_stand_in_one_variable_with_commas(self):
        configuration = load({}, {"GEARMESH_SECRET": SECRET, "GEARMESH_PEER": "a, b:5,[::1]"}).configuration
        assert configuration.peer == (Address("a", 4731), Address("b", 5), Address("::1", 4731))


class TestAdvertise:
    @pytest.mark.parametrize("mesh_port", [4731, 5000, 0])
    def test_without_a_port_is_at_the_meshs(self, mesh_port):
        configuration = with_secret(advertise="h.test", mesh=f"0.0.0.0:{mesh_port}").configuration
        assert configuration.advertise == Address("h.test", mesh_port)

    def test_keeps_a_port_of_its_own(self):
        assert with_secret(advertise="h.test:31000").configuration.advertise == Address("h.test", 31000)


class TestFoundingAlone:
    def test_is_doubtful_where_peers_are_named(self):
        (warning,) = with_secret(peer=["h1"]).warnings
        assert warning.startswith("--peer: with --expect 1 a new node founds a cluster of its own")

    def test_is_not_to_be_feared_where_others_are_expected(self):
        assert with_secret(peer=["h1"], expect="2").warnings == ()


class TestCertificates:
    def test_go_together(self):
        files = {"mesh_cert": "/c", "mesh_key": "/k", "mesh_ca": "/a"}
        configuration = with_secret(**files).configuration
        assert (configuration.mesh_cert, configuration.mesh_key, configuration.mesh_ca) == (
            Path("/c"),
            Path("/k"),
            Path("/a"),
        )

    @pytest.mark.parametrize(
        ("given", "missing"),
        [
            (["mesh_cert"], "--mesh-key and --mesh-ca"),
            (["mesh_key", "mesh_ca"], "--mesh-cert"),
            (["mesh_ca"], "--mesh-cert and --mesh-key"),
        ],
    )
    def test_are_refused_in_part(self, given, missing):
        assert problems(dict.fromkeys(given, "/x"), {"GEARMESH_SECRET": SECRET}) == (
            f"--{given[0].replace('_', '-')}: goes with {missing}: give all three, or none",
        )


class TestPorts:
    @pytest.mark.parametrize(
        ("flags", "refused"),
        [
            ({"listen": ["h:4731"], "insecure": True}, "--mesh: 0.0.0.0:4731 is a port that -L/--listen takes"),
            ({"http": "0.0.0.0:4730"}, "--http: 0.0.0.0:4730 is a port that --listen takes"),
            ({"http": "127.0.0.1:4731", "insecure": True}, "--http: 127.0.0.1:4731 is a port that --mesh takes"),
        ],
    )
    def test_serve_one_purpose_each(self, flags, refused):
        (problem,) = problems(flags)
        assert problem.startswith(refused)

    @pytest.mark.parametrize(
        "flags",
        [
            {"listen": ["h:4731"]},
            {"listen": ["h:4780"]},
            {"listen": ["0.0.0.0:0"], "mesh": "0.0.0.0:0", "http": "0.0.0.0:0", "insecure": True},
            {"listen": ["[::]:4731"], "insecure": True},
            {"http": "none", "listen": ["127.0.0.1:4780"]},
        ],
    )
    def test_that_do_not_meet_are_fine(self, flags):
        assert isinstance(load(flags, {}).configuration, Configuration)


class TestTheSite:
    def test_is_switched_off_by_a_word(self):
        assert load({"http": "none"}, {}).configuration.http is None

    def test_has_a_port_by_default(self):
        assert load({"http": "0.0.0.0"}, {}).configuration.http == Address("0.0.0.0", 4780)

    def test_is_named_to_other_commands_by_a_variable_that_a_node_passes_over(self):
        assert set(load({}, {"GEARMESH_SITE": "http://h"}).origins.values()) == {"default"}
