"""Where settings come from: precedence, refusals in the writer's own terms, and the TOML that is printed."""

import os
import socket
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.configuration import Address, Configuration, LogFormat, LogLevel, handle_prefix, load
from node.configuration.model import MAX_HANDLE_PREFIX
from node.configuration.settings import BY_FIELD, LARGEST_PACKET, PANELS, SETTINGS
from node.errors import ConfigurationError

SECRET_FILE = Path(__file__).parents[2] / "LICENSE"  # any file of a secret's size

EXAMPLES: dict[str, tuple[str, Any]] = {
    "name": ("node-7", "node-7"),
    "cluster": ("blue", "blue"),
    "data_dir": ("/srv/jobs", Path("/srv/jobs")),
    "job_handle_prefix": ("H:lap", "H:lap"),
    "listen": ("127.0.0.1:4731", (Address("127.0.0.1", 4731),)),
    "backlog": ("64", 64),
    "max_packet": ("1MiB", 1024 * 1024),
    "stall_timeout": ("1.5", 1.5),
    "http": ("[::1]:8080", Address("::1", 8080)),
    "keepalive": ("no", False),
    "keepalive_idle": ("-1", -1),
    "keepalive_interval": ("7", 7),
    "keepalive_count": ("9", 9),
    "expect": ("3", 3),
    "discovery": ("dns:nodes.test", ("dns:nodes.test",)),
    "peer": ("10.0.0.7", (Address("10.0.0.7", 4731),)),
    "secret_file": (str(SECRET_FILE), SECRET_FILE),
    "insecure": ("yes", True),
    "mesh": ("127.0.0.1:0", Address("127.0.0.1", 0)),
    "advertise": ("node-7.test:31", Address("node-7.test", 31)),
    "mesh_cert": ("/etc/g/node.pem", Path("/etc/g/node.pem")),
    "mesh_key": ("/etc/g/node.key", Path("/etc/g/node.key")),
    "mesh_ca": ("/etc/g/ca.pem", Path("/etc/g/ca.pem")),
    "disk_timeout": ("800ms", 0.8),
    "node_timeout": ("6500ms", 6.5),
    "job_retries": ("5", 5),
    "max_functions": ("2000", 2000),
    "max_worker_functions": ("300", 300),
    "exceptions": ("true", True),
    "max_memory": ("1500MiB", 1500 * 1024 * 1024),
    "min_free_disk": ("0", 0),
    "drain_timeout": ("2m", 120.0),
    "file_descriptors": ("4096", 4096),
    "user": ("nobody", "nobody"),
    "pid_file": ("/run/g.pid", Path("/run/g.pid")),
    "log_level": ("WARNING", LogLevel.WARNING),
    "log_format": ("json", LogFormat.JSON),
    "log_file": ("/var/log/g.log", Path("/var/log/g.log")),
}
"""For each setting something that is not its default: as text, and as the value."""

COMPANY = {
    "expect": {"insecure": True},
    "peer": {"insecure": True},
    "mesh_cert": {"mesh_key": "/k", "mesh_ca": "/a"},
    "mesh_key": {"mesh_cert": "/c", "mesh_ca": "/a"},
    "mesh_ca": {"mesh_cert": "/c", "mesh_key": "/k"},
}
"""Flags without which a setting is refused."""


def flag(field: str, text: str) -> dict[str, Any]:
    """Return what `load` is given for one flag, and the flags that it needs."""
    return {**COMPANY.get(field, {}), field: [text] if BY_FIELD[field].repeats else text}


def problems(flags: Any = None, environment: Any = None, **keywords: Any) -> tuple[str, ...]:
    """Return what `load` complains about."""
    with pytest.raises(ConfigurationError) as raised:
        load(flags, environment or {}, **keywords)
    return raised.value.problems


@pytest.fixture
def toml(tmp_path: Path):
    """Return a function that writes a TOML file and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "gearmesh.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


class TestTheTable:
    def test_has_one_row_for_each_field_of_the_configuration(self):
        assert {*BY_FIELD, "secret"} == set(Configuration.__struct_fields__)
        assert len(SETTINGS) == len(BY_FIELD)

    def test_has_an_example_here_for_each_setting(self):
        assert EXAMPLES.keys() == BY_FIELD.keys()

    def test_shows_every_setting_in_a_known_group(self):
        assert {setting.panel for setting in SETTINGS} == set(PANELS)

    def test_states_the_true_default_in_the_help(self):
        shown = load(environment={}).configuration
        for field, text in {
            "cluster": "gearmesh",
            "listen": "0.0.0.0:4730",
            "backlog": "1024",
            "max_packet": "64MiB",
            "stall_timeout": "60",
            "http": "127.0.0.1:4780",
            "keepalive": "on",
            "keepalive_idle": "60",
            "keepalive_interval": "20",
            "keepalive_count": "3",
            "expect": "1",
            "discovery": "mdns",
            "insecure": "off",
            "mesh": "0.0.0.0:4731",
            "disk_timeout": "2",
            "node_timeout": "5",
            "job_retries": "-1",
            "exceptions": "off",
            "max_memory": "70%",
            "drain_timeout": "20",
            "log_level": "info",
            "log_format": "auto",
            "log_file": "stderr",
        }.items():
            setting = BY_FIELD[field]
            assert f"[default: {text}]" in setting.help
            again = load(flag(field, text), {}).configuration
            assert getattr(again, field) == getattr(shown, field)


class TestEachSource:
    @pytest.mark.parametrize("field", sorted(EXAMPLES))
    def test_a_flag_sets_it(self, field):
        text, value = EXAMPLES[field]
        effective = load(flag(field, text), {})
        assert getattr(effective.configuration, field) == value
        assert effective.origins[field] == BY_FIELD[field].flag

    @pytest.mark.parametrize("field", sorted(EXAMPLES))
    def test_a_variable_sets_it(self, field):
        text, value = EXAMPLES[field]
        variable = f"GEARMESH_{field.upper()}"
        effective = load(COMPANY.get(field), {variable: text})
        assert getattr(effective.configuration, field) == value
        assert effective.origins[field] == variable

    @pytest.mark.parametrize("field", sorted(EXAMPLES))
    def test_a_file_sets_it_with_text(self, field, toml):
        text, value = EXAMPLES[field]
        file = toml(f'{field} = "{text}"')
        effective = load(COMPANY.get(field), {}, config_file=file)
        assert getattr(effective.configuration, field) == value
        assert effective.origins[field] == file

    def test_a_file_sets_it_with_tomls_own_types(self, toml):
        file = toml(
            'job_retries = 3\nexceptions = true\nstall_timeout = 2\nlisten = ["a:1", "[::1]:2"]\nmax_packet = 4096'
        )
        configuration = load({}, {}, config_file=file).configuration
        assert configuration.job_retries == 3
        assert configuration.exceptions is True
        assert configuration.stall_timeout == 2.0
        assert configuration.listen == (Address("a", 1), Address("::1", 2))
        assert configuration.max_packet == 4096

    def test_nothing_is_needed_at_all(self):
        effective = load({}, {})
        assert effective.configuration.name == socket.gethostname()
        assert effective.configuration.listen == (Address("0.0.0.0", 4730),)
        assert set(effective.origins.values()) == {"default"}


class TestPrecedence:
    def test_a_flag_goes_before_a_variable_and_a_variable_before_the_file(self, toml):
        file = toml('name = "file"\ncluster = "file"\njob_retries = 1')
        environment = {"GEARMESH_CLUSTER": "variable", "GEARMESH_NAME": "variable"}
        configuration = load({"name": "flag"}, environment, config_file=file).configuration
        assert (configuration.name, configuration.cluster, configuration.job_retries) == ("flag", "variable", 1)

    def test_a_list_replaces_the_weaker_one_whole(self):
        configuration = load({"listen": ["h:1"]}, {"GEARMESH_LISTEN": "h:2,h:3"}).configuration
        assert configuration.listen == (Address("h", 1),)

    def test_the_file_is_named_by_the_flag_rather_than_the_variable(self, toml):
        file = toml('name = "file"')
        effective = load({}, {"GEARMESH_CONFIG": "/nowhere"}, config_file=file)
        assert effective.configuration.name == "file"

    def test_the_variable_names_the_file_where_no_flag_does(self, toml):
        assert load({}, {"GEARMESH_CONFIG": toml('name = "file"')}).configuration.name == "file"

    def test_an_empty_variable_counts_as_none(self):
        assert load({}, {"GEARMESH_CLUSTER": "", "GEARMESH_CONFIG": ""}).origins["cluster"] == "default"

    def test_a_value_that_is_overridden_is_checked_all_the_same(self):
        (problem,) = problems({"job_retries": "1"}, {"GEARMESH_JOB_RETRIES": "many"})
        assert problem == 'GEARMESH_JOB_RETRIES: "many" is not a whole number'


class TestListen:
    def test_port_goes_to_the_addresses_without_one(self):
        effective = load({"listen": ["::1", "localhost", "[::2]", "h:7"]}, {}, port="5000")
        assert effective.configuration.listen == (
            Address("::1", 5000),
            Address("localhost", 5000),
            Address("::2", 5000),
            Address("h", 7),
        )

    def test_port_alone_listens_on_every_address(self):
        effective = load({}, {}, port="0")
        assert effective.configuration.listen == (Address("0.0.0.0", 0),)
        assert effective.origins["listen"] == "--port"

    def test_an_address_without_port_takes_gearmans(self):
        assert load({"listen": ["h"]}, {}).configuration.listen == (Address("h", 4730),)

    def test_a_port_that_no_address_takes_is_refused(self):
        (problem,) = problems({}, {"GEARMESH_LISTEN": "h:1"}, port="5000")
        assert problem.startswith("-p/--port: every address of GEARMESH_LISTEN has a port of its own")

    def test_an_address_that_is_there_twice_is_refused(self):
        assert problems({"listen": ["h:1", "h:1"]}) == ("--listen: h:1 is there twice",)

    def test_several_free_ports_are_fine(self):
        assert load({"listen": ["h:0", "h:0"]}, {}).configuration.listen == (Address("h", 0), Address("h", 0))

    @pytest.mark.parametrize(
        "written",
        [
            "",
            ":4730",
            "h:",
            "h:x",
            "h:65536",
            "h:-1",
            "a b:1",
            "1.2.3:4",
            "[::1",
            "[::1]4730",
            "[h]:1",
            "::1:4730",
            "h/1",
        ],
    )
    def test_an_address_that_is_none_is_refused_and_quoted(self, written):
        (problem,) = problems({"listen": [written]})
        assert problem.startswith("-L/--listen: ")
        assert written in problem

    @given(st.ip_addresses(), st.integers(0, 65535))
    def test_an_address_is_read_back_as_it_is_written(self, ip, port):
        address = Address(str(ip), port)
        assert load({"listen": [str(address)]}, {}).configuration.listen == (address,)


class TestRefusals:
    def test_all_mistakes_of_all_sources_are_told_at_once(self, toml):
        file = toml('job_retry = 3\nlog_level = "loud"')
        found = problems({"max_packet": "huge"}, {"GEARMESH_NAM": "x"}, config_file=file, port="x", problems=["first"])
        assert found == (
            "first",
            f'{file}: "job_retry" is no setting (did you mean job_retries?)',
            f'{file}: log_level: "loud" is not one of: debug, info, warning, error, critical',
            "GEARMESH_NAM: no setting has this name (did you mean GEARMESH_NAME?)",
            '--max-packet: "huge" is not a size in bytes, such as 67108864 or "64MiB"',
            '-p/--port: "x" is not a whole number',
        )

    @pytest.mark.parametrize(
        ("field", "written"),
        [
            ("name", "no blanks"),
            ("name", "-x"),
            ("name", "x" * 64),
            ("name", 7),
            ("cluster", ""),
            ("cluster", "a\0b"),
            ("data_dir", ""),
            ("data_dir", "~/jobs"),
            ("data_dir", "a\0b"),
            ("data_dir", "\udcff"),
            ("data_dir", ["/a"]),
            ("job_handle_prefix", "H: x"),
            ("job_handle_prefix", "H" * (MAX_HANDLE_PREFIX + 1)),
            ("job_handle_prefix", "H:ü"),
            ("listen", []),
            ("listen", [4730]),
            ("listen", 4730),
            ("backlog", 0),
            ("backlog", True),
            ("backlog", "9" * 5000),
            ("max_packet", 1023),
            ("max_packet", LARGEST_PACKET + 1),
            ("max_packet", "1.5"),
            ("max_packet", "64 MiBs"),
            ("max_packet", float("inf")),
            ("max_packet", float("nan")),
            ("max_packet", {"bytes": 1}),
            ("stall_timeout", 0),
            ("stall_timeout", "-1"),
            ("stall_timeout", False),
            ("max_memory", "63MiB"),
            ("max_memory", 0),
            ("max_memory", "0%"),
            ("max_memory", "101%"),
            ("max_memory", "-5%"),
            ("max_memory", "%"),
            ("max_memory", "half"),
            ("min_free_disk", "10%"),
            ("min_free_disk", -1),
            ("min_free_disk", "much"),
            ("drain_timeout", float("nan")),
            ("drain_timeout", float("inf")),
            ("drain_timeout", "1 day"),
            ("drain_timeout", -0.1),
            ("http", "nowhere:"),
            ("http", 4780),
            ("expect", 0),
            ("expect", "all"),
            ("discovery", []),
            ("discovery", ["dns:"]),
            ("discovery", ["dns"]),
            ("discovery", ["dns:10.0.0.1"]),
            ("discovery", ["dns:two words"]),
            ("discovery", ["mdns:x"]),
            ("discovery", ["multicast"]),
            ("discovery", ["mdns", "MDNS"]),
            ("discovery", [4731]),
            ("peer", []),
            ("peer", ["h:0"]),
            ("peer", ["0.0.0.0"]),
            ("peer", ["[::]:4731"]),
            ("peer", ["h", "h:4731"]),
            ("secret_file", ""),
            ("secret_file", "/nowhere/secret"),
            ("secret_file", "/dev/null"),
            ("secret_file", "/dev/zero"),
            ("secret_file", "/"),
            ("insecure", "rather not"),
            ("mesh", ""),
            ("mesh", ["h:1"]),
            ("advertise", "0.0.0.0:4731"),
            ("advertise", "[::]"),
            ("mesh_cert", ""),
            ("mesh_key", "~/k"),
            ("mesh_ca", 1),
            ("node_timeout", 4.9),
            ("node_timeout", "2h"),
            ("keepalive", "perhaps"),
            ("keepalive", 1),
            ("keepalive_idle", -2),
            ("keepalive_count", 128),
            ("job_retries", "-2"),
            ("job_retries", 1.0),
            ("job_retries", "٣"),
            ("file_descriptors", 1),
            ("user", "not a user"),
            ("log_level", "loud"),
            ("log_level", 10),
            ("log_format", "xml"),
            ("log_file", ""),
        ],
    )
    def test_a_value_out_of_bounds_is_refused_at_its_flag(self, field, written):
        (problem,) = problems({field: written})
        assert problem.startswith(f"{BY_FIELD[field].flags}: ")
        assert problem.isprintable()

    def test_a_file_that_is_not_there_is_named_with_the_flag(self):
        assert problems(config_file="/nowhere/x") == ("--config: cannot read /nowhere/x: No such file or directory",)

    def test_a_file_that_is_not_there_is_named_with_the_variable(self):
        (problem,) = problems({}, {"GEARMESH_CONFIG": "/nowhere/x"})
        assert problem.startswith("GEARMESH_CONFIG: cannot read /nowhere/x")

    @pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"a = 1\na = 2", b"a = " + b"[" * 5000])
    def test_a_file_that_is_not_toml_is_refused(self, content, tmp_path):
        path = tmp_path / "x.toml"
        path.write_bytes(content)
        (problem,) = problems(config_file=str(path))
        assert problem.startswith(f"--config: {path} is not a TOML file: ")

    def test_a_table_in_the_file_is_refused_with_the_reason(self, toml):
        file = toml('[zzz]\nname = "x"')
        assert problems(config_file=file) == (
            f'{file}: "zzz" is no setting; there are no tables, all keys stand at the top',
        )

    def test_a_key_with_hyphens_is_answered_with_the_right_one(self, toml):
        (problem,) = problems(config_file=toml('data-dir = "/x"'))
        assert problem.endswith('"data-dir" is no setting (did you mean data_dir?)')

    def test_a_host_name_that_cannot_name_a_node_is_refused_with_a_way_out(self, monkeypatch):
        monkeypatch.setattr(socket, "gethostname", lambda: "(none)")
        (problem,) = problems({})
        assert problem.startswith("--name: the host's own name cannot be the node's, choose one: ")
        assert load({"name": "n"}, {}).configuration.name == "n"


class TestVariablesOfOthers:
    def test_what_kubernetes_sets_for_a_service_of_our_name_is_passed_over(self):
        environment = {
            "GEARMESH_SERVICE_HOST": "10.0.0.1",
            "GEARMESH_SERVICE_PORT": "4730",
            "GEARMESH_SERVICE_PORT_GEARMAN": "4730",
            "GEARMESH_PORT": "tcp://10.0.0.1:4730",
            "GEARMESH_PORT_4730_TCP": "tcp://10.0.0.1:4730",
            "GEARMESH_PORT_4730_TCP_PROTO": "tcp",
            "GEARMESH_PORT_4730_TCP_PORT": "4730",
            "GEARMESH_PORT_4730_TCP_ADDR": "10.0.0.1",
            "GEARMESH_CLIENT_SERVICE_HOST": "10.0.0.1",
            "GEARMESH_CLIENT_PORT": "tcp://10.0.0.1:4730",
        }
        assert set(load({}, environment).origins.values()) == {"default"}

    def test_a_port_that_a_person_set_is_not_passed_over(self):
        (problem,) = problems({}, {"GEARMESH_PORT": "5000"})
        assert problem.startswith("GEARMESH_PORT: no setting has this name")

    def test_variables_without_our_prefix_are_none_of_ours(self):
        assert load({}, {"gearmesh_name": "x", "GEARMAND_NAME": "y"}).origins["name"] == "default"


class TestPaths:
    def test_are_absolute_from_the_current_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        configuration = load({"data_dir": "a/../b"}, {"GEARMESH_PID_FILE": "p"}).configuration
        assert configuration.data_dir == tmp_path / "b"
        assert configuration.pid_file == tmp_path / "p"

    def test_in_a_file_are_taken_from_the_files_directory(self, toml, tmp_path):
        file = toml('data_dir = "jobs"\nlog_file = "x.log"\npid_file = "/run/x"')
        configuration = load({}, {}, config_file=file).configuration
        assert configuration.data_dir == tmp_path / "jobs"
        assert configuration.log_file == tmp_path / "x.log"
        assert configuration.pid_file == Path("/run/x")

    def test_the_log_goes_to_gearmands_two_words(self, toml):
        assert load({"log_file": "stderr"}, {"GEARMESH_LOG_FILE": "/x"}).configuration.log_file is None
        assert load({}, {}, config_file=toml('log_file = "none"')).configuration.log_file == Path(os.devnull)


class TestDefaultDataDirectory:
    def test_of_root_is_the_systems(self, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert load({}, {"HOME": "/root"}).configuration.data_dir == Path("/var/lib/gearmesh")

    @pytest.mark.parametrize(
        ("environment", "expected"),
        [
            ({"HOME": "/home/ann"}, "/home/ann/.local/state/gearmesh"),
            ({"HOME": "/home/ann", "XDG_STATE_HOME": "/state"}, "/state/gearmesh"),
            ({"HOME": "/home/ann", "XDG_STATE_HOME": "relative"}, "/home/ann/.local/state/gearmesh"),
        ],
    )
    def test_of_a_user_is_in_the_state_directory(self, monkeypatch, environment, expected):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert load({}, environment).configuration.data_dir == Path(expected)

    def test_of_a_user_without_a_home_is_the_systems(self, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
        monkeypatch.setattr(os, "getuid", lambda: 54321)
        monkeypatch.delenv("HOME", raising=False)
        assert load({}, {}).configuration.data_dir == Path("/var/lib/gearmesh")


class TestHandlePrefix:
    def test_is_gearmands_with_the_nodes_name(self):
        assert load({"name": "lap"}, {}).configuration.job_handle_prefix == "H:lap"

    def test_of_a_long_name_leaves_room_for_any_number(self):
        first, second = (handle_prefix("gearmesh-in-a-very-long-namespace-of-somebody-" + end) for end in "01")
        assert len(first) == len(second) == MAX_HANDLE_PREFIX
        assert first != second
        assert len(f"{first}:{2**64 - 1}") == 63

    @given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True))
    def test_fits_into_a_handle_for_every_name(self, name):
        prefix = load({"name": name}, {}).configuration.job_handle_prefix
        assert load({"job_handle_prefix": prefix}, {}).configuration.job_handle_prefix == prefix


_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
_hosts = st.one_of(
    st.ip_addresses().filter(lambda ip: int(ip) != 0).map(str),
    st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True),
)
_paths = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(lambda text: f"/{text}")
_addresses = st.builds(
    lambda host, port: f"[{host}]:{port}" if ":" in host else f"{host}:{port}", _hosts, st.integers(10_000, 65535)
)
WRITTEN = st.fixed_dictionaries(
    {},
    optional={
        "name": _names,
        "cluster": _names,
        "data_dir": _paths,
        "job_handle_prefix": st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=42),
        "listen": st.lists(_addresses, min_size=1, max_size=4, unique=True),
        "backlog": st.integers(1, 65535),
        "max_packet": st.integers(1024, LARGEST_PACKET),
        "stall_timeout": st.floats(0.001, 86_400),
        "http": st.sampled_from(["none", "127.0.0.1:0", "localhost:8080"]),
        "keepalive": st.booleans(),
        "keepalive_idle": st.integers(-1, 32767),
        "keepalive_interval": st.integers(-1, 32767),
        "keepalive_count": st.integers(-1, 127),
        "job_retries": st.integers(-1, 2**31 - 1),
        "exceptions": st.booleans(),
        "max_memory": st.one_of(st.integers(2**26, 2**50), st.integers(1, 100).map(lambda percent: f"{percent}%")),
        "min_free_disk": st.one_of(st.integers(0, 2**50), st.just("auto")),
        "drain_timeout": st.floats(0, 86_400),
        "file_descriptors": st.integers(64, 2**30),
        "user": st.just("nobody"),
        "pid_file": _paths,
        "log_level": st.sampled_from(LogLevel),
        "log_format": st.sampled_from(LogFormat),
        "log_file": st.one_of(_paths, st.sampled_from(["stderr", "none"])),
    },
)
CLUSTERED = st.fixed_dictionaries(
    {"insecure": st.just("on")},
    optional={
        "expect": st.integers(1, 99),
        "discovery": st.lists(st.sampled_from(["mdns", "static", "dns:a.test", "dns:b.test"]), min_size=1, unique=True),
        "peer": st.lists(_addresses, min_size=1, max_size=4, unique=True),
        "mesh": st.sampled_from(["127.0.0.1:0", "[::1]:9999"]),
        "advertise": st.one_of(_hosts.map(lambda host: f"[{host}]" if ":" in host else host), _addresses),
        "node_timeout": st.floats(5, 3600),
    },
)


class TestPrintedToml:
    @given(WRITTEN, st.one_of(st.just({}), st.just({"secret_file": str(SECRET_FILE)}), CLUSTERED))
    def test_is_read_back_as_the_same_configuration(self, tmp_path_factory, written, clustered):
        effective = load({**written, **clustered}, {})
        file = tmp_path_factory.mktemp("printed") / "printed.toml"
        file.write_text(effective.as_toml(), encoding="utf-8")
        assert load({}, {}, config_file=str(file)).configuration == effective.configuration

    def test_says_where_each_value_comes_from(self, toml):
        file = toml("job_retries = 3")
        printed = load({"name": "n", "keepalive": False}, {"GEARMESH_CLUSTER": "c"}, config_file=file).as_toml()
        assert f"job_retries = 3  # {file}\n" in printed
        assert 'name = "n"  # --name\n' in printed
        assert 'cluster = "c"  # GEARMESH_CLUSTER\n' in printed
        assert "keepalive = false  # --no-keepalive\n" in printed
        assert 'log_file = "stderr"  # default\n' in printed
        assert "# pid_file is not set\n" in printed

    def test_stays_toml_when_the_files_own_name_is_hostile(self, tmp_path):
        file = tmp_path / 'a\nname = "evil"'
        file.write_text('cluster = "c"', encoding="utf-8")
        printed = tomllib.loads(load({"name": "n"}, {}, config_file=str(file)).as_toml())
        assert (printed["name"], printed["cluster"]) == ("n", "c")
