"""The command line as a contract: flags, gearmand's names, refusals with their hints, help, exit statuses."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cluster.storage import StorageError
from node.cli import main
from node.configuration import Address, Configuration, LogLevel, load
from node.configuration.gearmand import GEARMAND_LEVELS, REFUSED
from node.configuration.settings import SETTINGS
from node.errors import ListenError
from tests.cluster.mesh.certificates import Authority
from tests.harness.conditions import eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for variable in list(os.environ):
        if variable.startswith("GEARMESH_"):
            monkeypatch.delenv(variable)


@pytest.fixture
def served(monkeypatch):
    """Put a server in place that only notes the configuration it is given; return those notes."""
    configurations: list[Configuration] = []
    server = ModuleType("node.server")
    server.run = lambda configuration: configurations.append(configuration) or 0
    monkeypatch.setitem(sys.modules, "node.server", server)
    monkeypatch.setattr("node.privileges.raise_file_descriptor_limit", lambda wanted: wanted)
    return configurations


def serve(served: list[Configuration], *arguments: str) -> Configuration:
    assert main(["serve", *arguments]) == 0
    return served.pop()


def refusal(capsys, *arguments: str) -> list[str]:
    """Return the lines that `gearmesh serve ARGUMENTS` refuses with."""
    assert main(["serve", "--check-config", *arguments]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    return [line.removeprefix("gearmesh: ") for line in output.err.splitlines()]


def gearmesh(*arguments: str, **keywords) -> subprocess.CompletedProcess[str]:
    """Run the real program with an environment that holds nothing."""
    keywords.setdefault("env", {})
    keywords.setdefault("capture_output", True)
    return subprocess.run(
        [sys.executable, "-m", "node", *arguments], cwd=ROOT, text=True, check=False, timeout=60, **keywords
    )


class TestServe:
    def test_takes_every_flag_of_the_contract(self, served, tmp_path):
        configuration = serve(
            served,
            *("--name", "n1", "--cluster", "c1", "--data-dir", str(tmp_path)),
            *("--listen", "127.0.0.1:0", "--listen", "[::1]:4731"),
            *("--job-retries", "3", "--max-packet", "1048576", "--drain-timeout", "1.5"),
            *("--log-level", "debug", "--log-format", "console", "--pid-file", str(tmp_path / "pid")),
            *(
                "--mesh",
                "127.0.0.1:0",
                "--http",
                "none",
                "--expect",
                "3",
                "--discovery",
                "mdns",
                "--discovery",
                "dns:h",
            ),
            *("--peer", "h1", "--peer", "h2:5", "--insecure", "--node-timeout", "5", "--advertise", "h:6"),
            *("--mesh-cert", "/c", "--mesh-key", "/k", "--mesh-ca", "/a"),
        )
        assert configuration == Configuration(
            mesh=Address("127.0.0.1", 0),
            http=None,
            expect=3,
            discovery=("mdns", "dns:h", "static"),
            peer=(Address("h1", 4731), Address("h2", 5)),
            insecure=True,
            node_timeout=5.0,
            advertise=Address("h", 6),
            mesh_cert=Path("/c"),
            mesh_key=Path("/k"),
            mesh_ca=Path("/a"),
            name="n1",
            cluster="c1",
            data_dir=tmp_path,
            listen=(Address("127.0.0.1", 0), Address("::1", 4731)),
            job_retries=3,
            max_packet=1048576,
            drain_timeout=1.5,
            log_level=LogLevel.DEBUG,
            log_format="console",
            pid_file=tmp_path / "pid",
        )

    @pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.field)
    def test_has_the_flag_of_every_setting_in_its_help(self, setting, capsys):
        assert main(["serve", "--help"]) == 0
        output = capsys.readouterr().out
        for flag in (setting.flag, *setting.short):
            assert re.search(rf"(?<![\w-]){flag}(?![\w-])", output)

    def test_reads_the_file_that_either_flag_names(self, served, tmp_path):
        file = tmp_path / "g.toml"
        file.write_text("job_retries = 7")
        assert serve(served, "--config", str(file)).job_retries == 7
        assert serve(served, "--config-file", str(file)).job_retries == 7

    def test_gives_the_server_the_secret_and_nobody_else(self, served, tmp_path, monkeypatch, capsys):
        file = tmp_path / "secret"
        file.write_text("hush-hush-hush-hush\n")
        file.chmod(0o644)
        configuration = serve(served, "--secret-file", str(file), "--log-file", str(tmp_path / "log"))
        assert configuration.secret == b"hush-hush-hush-hush"
        assert not configuration.alone
        assert json.loads((tmp_path / "log").read_text())["event"] == "doubtful_setting"
        monkeypatch.setenv("GEARMESH_SECRET", "hush-hush-hush-hush")
        assert main(["serve", "--print-config"]) == 0
        assert "hush" not in (tmp_path / "log").read_text() + "".join(capsys.readouterr())

    def test_warns_of_what_is_hardly_meant_when_it_only_checks(self, capsys):
        assert main(["serve", "--check-config", "--node-timeout", "9"]) == 0
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("gearmesh: warning: --node-timeout: has no effect")

    def test_reads_the_certificates_when_it_only_checks(self, tmp_path, capsys):
        Authority().write(tmp_path, "node")
        files = [f"--mesh-{kind}={tmp_path / f'{kind}.pem'}" for kind in ("cert", "key", "ca")]
        assert main(["serve", "--check-config", "--insecure", *files]) == 0
        (tmp_path / "key.pem").write_text("not a key")
        assert f"the mesh cannot use {tmp_path / 'cert.pem'}" in refusal(capsys, "--insecure", *files)[0]
        (tmp_path / "ca.pem").unlink()
        assert f"{tmp_path / 'ca.pem'}: [Errno 2] No such file" in refusal(capsys, "--insecure", *files)[0]

    def test_returns_the_servers_own_status(self, served):
        sys.modules["node.server"].run = lambda _: 3
        assert main(["serve"]) == 3


class TestGearmandsNames:
    def test_that_mean_the_same_are_taken(self, served, tmp_path):
        configuration = serve(
            served,
            *("-b", "32", "-f", "100", "-j", "2", "-l", "stderr", "-L", "127.0.0.1", "-p", "4790"),
            *("-P", str(tmp_path / "pid"), "-R", "--exceptions", "--keepalive", "--keepalive-idle", "-1"),
            *("--keepalive-interval=5", "--keepalive-count=6", "--job-handle-prefix", "H:x", "--verbose=NOTICE"),
        )
        assert configuration.backlog == 32
        assert configuration.file_descriptors == 100
        assert configuration.job_retries == 2
        assert configuration.log_file is None
        assert configuration.listen == (Address("127.0.0.1", 4790),)
        assert configuration.pid_file == tmp_path / "pid"
        assert configuration.exceptions is True
        assert configuration.keepalive is True
        assert (configuration.keepalive_idle, configuration.keepalive_interval, configuration.keepalive_count) == (
            -1,
            5,
            6,
        )
        assert configuration.job_handle_prefix == "H:x"
        assert configuration.log_level is LogLevel.INFO

    def test_take_a_negative_number(self, served):
        assert serve(served, "-j", "-1").job_retries == -1
        assert serve(served, "--job-retries=-1").job_retries == -1

    @pytest.mark.parametrize(
        ("arguments", "level"),
        [
            (["-v"], "info"),
            (["-vv"], "debug"),
            (["--verbose"], "info"),
            (["--verbose", "-R"], "info"),
            (["--verbose", "DEBUG"], "debug"),
            *[([f"--verbose={word.upper()}"], level) for word, level in GEARMAND_LEVELS.items()],
        ],
    )
    def test_set_the_log_level(self, served, arguments, level):
        assert serve(served, *arguments).log_level == level

    def test_with_a_level_that_is_none_are_refused(self, capsys):
        assert refusal(capsys, "--verbose=LOUD") == [
            '-v/--verbose: "LOUD" is not one of: FATAL, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG'
        ]

    def test_that_contradict_ours_are_refused(self, capsys):
        assert refusal(capsys, "-v", "--log-level=error") == [
            "-v/--verbose: --log-level is given too: say one or the other"
        ]

    @pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused.flags[-1])
    def test_without_meaning_here_are_refused_with_what_to_do(self, capsys, refused):
        for flag in refused.flags:
            (line,) = refusal(capsys, flag, *(["7"] if refused.takes_value else []))
            assert line == f"{'/'.join(refused.flags)}: gearmand's option has no meaning here. {refused.hint}"

    def test_are_all_either_taken_or_refused(self, capsys):
        assert main(["serve", "--help"]) == 0
        known = set(re.findall(r"--?[\w-]+", capsys.readouterr().out))
        known.update(flag for refused in REFUSED for flag in refused.flags)
        assert known.issuperset(GEARMANDS_OPTIONS.split())

    def test_of_the_file_with_an_at_sign_are_refused_with_ours(self, capsys):
        assert refusal(capsys, "@gearmand.conf") == [
            "@gearmand.conf: serve takes options only: a configuration file is named with --config FILE"
        ]


GEARMANDS_OPTIONS = """
    -b --backlog --check-args -d --daemon --exceptions -f --file-descriptors -h --help -j --job-retries
    --job-handle-prefix --hashtable-buckets --keepalive --keepalive-idle --keepalive-interval --keepalive-count
    -l --log-file -L --listen -P --pid-file -r --protocol -R --round-robin -q --queue-type --config-file --syslog
    --coredump -t --threads -u --user -v --verbose -w --worker-wakeup --http-port -p --port --ssl --ssl-ca-file
    --ssl-certificate --ssl-key --libmemcached-servers --libmemcached-prefix --libsqlite3-db --store-queue-on-shutdown
    --libsqlite3-table --libpq-conninfo --libpq-table --redis-server --redis-port --redis-password --redis-prefix
    --mysql-host --mysql-port --mysql-user --mysql-password --mysql-db --mysql-table
"""
"""What `gearmand --help` of 1.1.20 lists, but for -V/--version, which belongs to `gearmesh` itself here."""


class TestRefusals:
    def test_name_the_nearest_flag(self, capsys):
        assert refusal(capsys, "--job-retry=3", "--data_dir", "/x") == [
            "--job-retry: no such option (did you mean --job-retries?)",
            "--data_dir: no such option (did you mean --data-dir?)",
        ]

    def test_come_all_at_once(self, capsys):
        lines = refusal(capsys, "-d", "--nonsense", "stray", "-j", "x", "--name", "a b", "-p", "x")
        assert [line.split(":")[0] for line in lines] == [
            "-d/--daemon",
            "--nonsense",
            "--name",
            "-j/--job-retries",
            "-p/--port",
        ]

    def test_name_an_argument_that_is_no_option(self, capsys):
        assert refusal(capsys, "stray") == ["stray: serve takes options only"]

    def test_stay_on_one_line_whatever_was_written(self, capsys):
        for written in ("--a\nb", "a\x1b[2J", "\udcff", "--name=\n", "-pé\n"):
            assert len(refusal(capsys, written)) == 1

    def test_of_a_secret_on_the_command_line_do_not_show_it(self, capsys):
        for written in (["--secret", "hush-hush-hush-hush"], ["--secret=hush-hush-hush-hush"]):
            assert refusal(capsys, *written) == ["--secret: no such option (did you mean --secret-file?)"]

    @pytest.mark.parametrize("arguments", [["serve", "-p"], ["nonsense"], ["--nonsense"], ["serve", "--keepalive=1"]])
    def test_of_usage_end_with_status_1_and_say_where_to_look(self, capsys, arguments):
        assert main(arguments) == 1
        first, second = capsys.readouterr().err.splitlines()
        assert first.startswith("gearmesh: ")
        assert second == "gearmesh: Try: gearmesh serve --help"

    def test_of_the_server_are_one_message_without_a_traceback(self, served, capsys):
        def fail(_):
            raise ListenError("cannot listen on 0.0.0.0:4730: Address already in use")

        sys.modules["node.server"].run = fail
        assert main(["serve"]) == 1
        assert capsys.readouterr().err == "gearmesh: cannot listen on 0.0.0.0:4730: Address already in use\n"

    def test_of_the_disk_are_one_message_and_in_the_log_file(self, served, capsys, tmp_path):
        def fail(_):
            raise StorageError("the disk is full")

        sys.modules["node.server"].run = fail
        assert main(["serve", "--log-file", str(tmp_path / "log")]) == 1
        assert capsys.readouterr().err == "gearmesh: the disk is full\n"
        assert json.loads((tmp_path / "log").read_text())["error"] == "the disk is full"

    def test_of_a_log_file_say_which(self, served, capsys, tmp_path):
        assert main(["serve", "--log-file", str(tmp_path)]) == 1
        assert capsys.readouterr().err == f"gearmesh: log_file: cannot open {tmp_path}: Is a directory\n"

    def test_of_a_user_come_before_the_server_starts(self, served, capsys):
        assert main(["serve", "--user", "nobody-of-this-name"]) == 1
        assert capsys.readouterr().err == "gearmesh: user: this host has no user nobody-of-this-name\n"
        assert served == []

    def test_of_what_nobody_foresaw_are_in_the_log_with_their_traceback(self, served, tmp_path):
        def crash(_):
            raise LookupError("what is this")

        sys.modules["node.server"].run = crash
        assert main(["serve", "--log-file", str(tmp_path / "log")]) == 1
        event = json.loads((tmp_path / "log").read_text())
        assert event["event"] == "node_crashed"
        assert event["exception"].endswith("LookupError: what is this")


class TestHelp:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["--help"],
            ["-h"],
            ["serve", "--help"],
            ["serve", "-h"],
            ["dev", "-h"],
            ["healthcheck", "-h"],
            ["cluster", "-h"],
            *(["cluster", command, "-h"] for command in ("members", "add", "remove", "transfer")),
        ],
    )
    def test_fits_into_80_columns(self, capsys, monkeypatch, arguments):
        monkeypatch.delenv("COLUMNS", raising=False)
        assert main(arguments) == 0
        output = capsys.readouterr().out
        assert "gearmesh" in output
        assert max(len(line) for line in output.splitlines()) <= 80

    def test_is_what_one_gets_without_a_command(self, capsys):
        assert main([]) == 1
        assert "serve" in capsys.readouterr().out

    def test_is_what_one_gets_of_a_command_that_needs_another(self, capsys):
        assert main(["cluster"]) == 1
        output = capsys.readouterr()
        assert "members" in output.out
        assert output.err == ""

    @pytest.mark.parametrize("flag", ["--version", "-V"])
    def test_of_the_version_is_one_line(self, capsys, flag):
        assert main([flag]) == 0
        assert re.fullmatch(r"gearmesh [0-9]+\.[0-9]+\.[0-9]+\S*\n", capsys.readouterr().out)


class TestDev:
    @pytest.fixture
    def started(self, monkeypatch):
        """Put a cluster in place that only notes what it is asked for; return those notes."""
        asked: list[dict[str, object]] = []
        module = ModuleType("node.dev")
        module.DEFAULT_DIRECTORY = Path("by-default")
        module.dev = lambda **given: asked.append(given) or 0
        monkeypatch.setitem(sys.modules, "node.dev", module)
        monkeypatch.setattr("node.dev", module, raising=False)
        return asked

    def test_starts_three_nodes_on_this_host(self, started):
        assert main(["dev"]) == 0
        assert started == [
            {"nodes": 3, "data_dir": Path("by-default"), "listen_base": 4730, "host": "127.0.0.1"},
        ]

    def test_starts_as_many_as_it_is_told_where_it_is_told(self, started):
        assert main(["dev", "--nodes", "5", "--data-dir", "d", "--listen-base", "14730", "--host", "::1"]) == 0
        assert started == [{"nodes": 5, "data_dir": Path("d"), "listen_base": 14730, "host": "::1"}]

    def test_says_what_it_cannot_use(self, capsys):
        assert main(["dev", "--nodes", "some"]) == 1
        assert capsys.readouterr().err.splitlines()[-1] == "gearmesh: Try: gearmesh dev --help"


class TestTheProgram:
    def test_prints_a_configuration_that_can_be_fed_back(self, tmp_path):
        file = tmp_path / "g.toml"
        printed = gearmesh("serve", "--print-config", "--name", "n", "-p", "0", env={"GEARMESH_CLUSTER": "c"})
        assert (printed.returncode, printed.stderr) == (0, "")
        file.write_text(printed.stdout)
        configuration = load({}, {}, config_file=str(file)).configuration
        assert (configuration.name, configuration.cluster) == ("n", "c")
        assert configuration.listen == (Address("0.0.0.0", 0),)

    def test_says_nothing_about_a_configuration_that_is_sound(self):
        checked = gearmesh("serve", "--check-args", "-p", "4731")
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")

    @pytest.mark.parametrize(
        "arguments", [["serve", "--check-config", "-j", "x"], ["serve", "--nonsense"], ["serve", "-p"], ["nonsense"]]
    )
    def test_ends_with_status_1_on_a_mistake(self, arguments):
        refused = gearmesh(*arguments)
        assert refused.returncode == 1
        assert refused.stdout == ""
        assert refused.stderr.startswith("gearmesh: ")
        assert "Traceback" not in refused.stderr

    def test_ends_with_status_1_when_its_answer_cannot_be_written(self):
        with Path("/dev/full").open("w") as full:
            refused = gearmesh("serve", "--print-config", stdout=full, stderr=subprocess.PIPE, capture_output=False)
        assert refused.returncode == 1
        assert refused.stderr == "gearmesh: cannot write the answer: No space left on device\n"

    def test_gives_its_status_though_all_streams_are_closed(self, tmp_path):
        for argument, status in (("--check-config", 0), ("--nonsense", 1)):
            shell = subprocess.run(
                ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "node", "serve", argument],
                cwd=ROOT,
                env={},
                check=False,
                timeout=60,
            )
            assert shell.returncode == status


@pytest.fixture
def node(tmp_path):
    """Return a function that starts a real node on a free port, and ends those that still run."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, shell: str = 'exec "$@"', **keywords) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "node",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--http",
            "none",
            "--data-dir",
            str(tmp_path / "data"),
        ]
        process = subprocess.Popen(["/bin/sh", "-c", shell, "sh", *command, *arguments], cwd=ROOT, env={}, **keywords)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def events_in(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def standard_streams(process: int) -> list[str]:
    return [str(Path(f"/proc/{process}/fd/{descriptor}").readlink()) for descriptor in range(3)]


async def listening_port(log: Path) -> int:
    """Wait until the log says where the node listens."""

    async def ports() -> list[int]:
        events = events_in(log)
        return [int(str(event["address"]).rpartition(":")[2]) for event in events if event["event"] == "listening"]

    return (await eventually(ports))[-1]


def version_asked_at(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"version\n")
        return connection.makefile("rb").readline()


class TestANode:
    async def test_logs_where_it_listens_and_ends_with_status_0_on_sigterm(self, node, tmp_path):
        log, pid = tmp_path / "log", tmp_path / "pid"
        process = node("--log-file", str(log), "--pid-file", str(pid))
        assert version_asked_at(await listening_port(log)).startswith(b"OK ")
        assert int(pid.read_text()) == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not pid.exists()

    @pytest.mark.parametrize("shell", ['exec "$@" <&- >&- 2>&-', 'exec "$@" >/dev/full 2>&1'])
    async def test_serves_with_streams_that_are_closed_or_full(self, node, tmp_path, shell):
        log = tmp_path / "log"
        process = node("--log-file", str(log), shell=shell)
        assert version_asked_at(await listening_port(log)).startswith(b"OK ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0

    async def test_keeps_its_data_apart_from_closed_streams(self, node, tmp_path):
        log = tmp_path / "log"
        process = node("--log-file", str(log), shell='exec "$@" <&- >&- 2>&-')
        await listening_port(log)
        assert standard_streams(process.pid) == [os.devnull] * 3

    async def test_serves_though_nobody_reads_its_stderr(self, node, tmp_path):
        pid = tmp_path / "pid"
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(writer, True)  # from here on it is full, and a write waits for ever
        process = node("--pid-file", str(pid), stderr=writer)

        async def written() -> bool:
            return pid.exists()

        await eventually(written)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        os.close(reader)
        os.close(writer)

    async def test_opens_its_log_again_on_sighup(self, node, tmp_path):
        log = tmp_path / "log"
        process = node("--log-file", str(log))
        await listening_port(log)
        log.rename(tmp_path / "log.1")
        process.send_signal(signal.SIGHUP)

        async def exists() -> bool:
            return log.exists()

        await eventually(exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert "stopped" in log.read_text()

    async def test_on_a_taken_port_ends_with_status_1_and_one_message(self, node, tmp_path):
        log = tmp_path / "log"
        node("--log-file", str(log))
        port = await listening_port(log)
        arguments = ("--listen", f"127.0.0.1:{port}", "--http", "none", "--data-dir", str(tmp_path / "other"))
        second = gearmesh("serve", *arguments)
        assert second.returncode == 1
        assert second.stderr.startswith(f"gearmesh: cannot listen on 127.0.0.1:{port}: ")
        assert len(second.stderr.splitlines()) == 1
