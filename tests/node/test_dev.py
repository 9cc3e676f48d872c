"""A cluster in one terminal, with stand-ins for the nodes: processes, signals, ports, and what is printed.

The nodes themselves, and that they form a cluster, are tested with real ones elsewhere.
"""

import contextlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.dev import dev
from node.dev.layout import ClusterLayout, arrange, environment, require_free_ports, running_process
from node.dev.screen import Screen
from node.dev.secret import shared_secret
from node.errors import ConfigurationError, ListenError
from tests.harness.server_process import free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0

STAND_IN = """
import http.server, json, os, signal, sys, threading, time
flags = dict(zip(sys.argv[2::2], sys.argv[3::2]))
name = flags["--name"]
trick = os.environ.get("TRICK_" + name.replace("-", "_"), "")
print(json.dumps({"event": "started", "level": "warning", "flags": flags}), flush=True)
if trick == "fails":
    sys.exit("no such luck")

class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if trick == "never ready" else 200)
        self.end_headers()
        self.wfile.write(b"no leader is known")
    def log_message(self, *_):
        pass

def stop(*_):
    print("asked to stop", flush=True)
    if trick != "stubborn":
        os._exit(3 if trick == "ends badly" else 0)

signal.signal(signal.SIGTERM, stop)
host, _, port = flags["--http"].rpartition(":")
http.server.ThreadingHTTPServer((host, int(port)), Site).serve_forever()
"""

DRIVER = """
import asyncio, fcntl, sys, termios
from pathlib import Path
import msgspec
if sys.stdin.isatty():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from node.dev.layout import arrange
from node.dev.screen import Screen
from node.dev.session import Session
nodes, directory, base, stand_in, slow = sys.argv[1:]
layout = arrange(nodes=int(nodes), directory=Path(directory), listen_base=int(base), host="127.0.0.1")
layout = msgspec.structs.replace(layout, program=(sys.executable, stand_in))
Path(directory).mkdir(exist_ok=True)
sys.exit(asyncio.run(Session(layout, Screen(sys.stdout), slow=float(slow)).run()))
"""


def free_base(nodes: int = 3) -> int:
    """Return a port with which every port of a layout is free."""
    while True:
        base = free_port()
        try:
            require_free_ports(layout_at(base, nodes=nodes))
        except ListenError:
            continue
        return base


def layout_at(
    base: int, *, nodes: int = 3, directory: Path = Path("cluster"), host: str = "127.0.0.1"
) -> ClusterLayout:
    return arrange(nodes=nodes, directory=directory, listen_base=base, host=host)


class Terminal:
    """`gearmesh dev` over stand-in nodes, on a pseudo-terminal or with its output in a pipe."""

    def __init__(self, directory: Path, *, nodes: int = 3, on_terminal: bool = False, slow: float = 30, **tricks: str):
        stand_in = directory / "stand_in.py"
        stand_in.write_text(STAND_IN)
        self.base = free_base(nodes)
        self.seen = ""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GEARMESH_")}
        environment |= {f"TRICK_{node}": trick for node, trick in tricks.items()} | {"TERM": "xterm"}
        command = [
            *(sys.executable, "-c", DRIVER),
            *(str(nodes), str(directory / "cluster"), str(self.base), str(stand_in), str(slow)),
        ]
        if on_terminal:
            self._output, theirs = pty.openpty()
        else:
            self._output, theirs = os.pipe()
        self.process = subprocess.Popen(
            command,
            stdin=theirs if on_terminal else subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in re.findall(r"is process (\d+)", self.seen):
            _kill(int(pid))
        self.process.kill()
        self.process.wait()
        if self._output >= 0:
            os.close(self._output)

    def until(self, text: str, *, times: int = 1) -> str:
        """Read until the text has been printed so often, and return everything so far."""
        deadline = time.monotonic() + PATIENCE
        while self.seen.count(text) < times:
            self._read(deadline, f"{text!r} {times} times")
        return self.seen

    def status(self) -> int:
        """Read to the end and return the exit status."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline, "the end"):
            pass
        return self.process.wait(PATIENCE)

    def pid(self, node: str) -> int:
        """Return the process id that was printed last for a node."""
        return int(re.findall(rf"{node} is process (\d+)", self.seen)[-1])

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def type(self, keys: bytes) -> None:
        os.write(self._output, keys)

    def hang_up(self) -> None:
        """Close the reading end."""
        os.close(self._output)
        self._output = -1

    def _read(self, deadline: float, awaited: str) -> bool:
        assert select.select([self._output], [], [], max(deadline - time.monotonic(), 0))[0], (
            f"waited for {awaited}; seen:\n{self.seen}"
        )
        try:
            data = os.read(self._output, 65536)
        except OSError:  # how a pseudo-terminal says that its other end is closed
            data = b""
        self.seen += data.decode()
        assert data or awaited == "the end", f"ended, but waited for {awaited}; seen:\n{self.seen}"
        return bool(data)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class TestLayout:
    def test_ports_are_ten_apart_from_the_usual_ones(self):
        layout = layout_at(4730)
        assert [(node.listen.port, node.mesh.port, node.http.port) for node in layout.nodes] == [
            (4730, 4731, 4780),
            (4740, 4741, 4790),
            (4750, 4751, 4800),
        ]

    @pytest.mark.parametrize("nodes", range(1, 10))
    def test_no_port_is_used_twice(self, nodes):
        ports = [
            port
            for node in layout_at(4730, nodes=nodes).nodes
            for port in (node.listen.port, node.mesh.port, node.http.port)
        ]
        assert len(set(ports)) == 3 * nodes

    def test_nodes_have_names_directories_and_pid_files_of_their_own(self):
        layout = layout_at(4730, nodes=2, directory=Path("here"))
        assert [(node.name, str(node.data_dir), str(node.pid_file)) for node in layout.nodes] == [
            ("node-1", "here/node-1", "here/node-1.pid"),
            ("node-2", "here/node-2", "here/node-2.pid"),
        ]

    def test_the_command_line_holds_all_of_it_and_the_secret_only_by_its_file(self, monkeypatch):
        monkeypatch.delenv("GEARMESH_LOG_FORMAT", raising=False)
        monkeypatch.delenv("GEARMESH_MAX_MEMORY", raising=False)
        layout = layout_at(4730, directory=Path("here")).of_cluster_named_after("hush")
        program, serve, *flags = layout.command(layout.nodes[1])[-26:]
        assert (Path(program).name, serve) == ("gearmesh", "serve")
        assert dict(zip(flags[::2], flags[1::2], strict=True)) == {
            "--name": "node-2",
            "--cluster": layout.cluster,
            "--data-dir": "here/node-2",
            "--pid-file": "here/node-2.pid",
            "--listen": "127.0.0.1:4740",
            "--mesh": "127.0.0.1:4741",
            "--http": "127.0.0.1:4790",
            "--expect": "3",
            "--discovery": "mdns",
            "--secret-file": "here/secret",
            "--max-memory": "23%",
            "--log-format": "console",
        }

    def test_a_log_format_given_by_its_variable_is_left_to_it(self, monkeypatch):
        monkeypatch.setenv("GEARMESH_LOG_FORMAT", "json")
        layout = layout_at(4730)
        assert "--log-format" not in layout.command(layout.nodes[0])

    def test_a_memory_mark_given_by_its_variable_is_left_to_it(self, monkeypatch):
        monkeypatch.setenv("GEARMESH_MAX_MEMORY", "1g")
        layout = layout_at(4730)
        assert "--max-memory" not in layout.command(layout.nodes[0])

    def test_clusters_of_other_secrets_have_other_names(self):
        layout = layout_at(4730)
        first, again, other = (layout.of_cluster_named_after(secret).cluster for secret in ("a", "a", "b"))
        assert first == again != other
        assert re.fullmatch(r"dev-[0-9a-f]{8}", first)

    def test_nodes_inherit_the_environment_but_not_what_they_cannot_share(self):
        inherited = {"PATH": "/bin", "GEARMESH_LOG_LEVEL": "debug", "GEARMESH_PID_FILE": "/x", "GEARMESH_SECRET": "s"}
        assert environment(inherited) == {"PATH": "/bin", "GEARMESH_LOG_LEVEL": "debug"}

    def test_everything_wrong_is_told_at_once(self):
        with pytest.raises(ConfigurationError) as refusal:
            arrange(nodes=10, directory=Path(), listen_base=70000, host="a:b:c")
        assert [problem.partition(":")[0] for problem in refusal.value.problems] == [
            "--nodes",
            "--listen-base",
            "--host",
        ]

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"nodes": 0}, "--nodes: 0 is not between 1 and 9"),
            ({"base": 0}, "--listen-base: 0 is not between 1 and 65465"),
            ({"base": 65466}, "--listen-base: 65466 is not between 1 and 65465"),
            ({"host": "127.0.0.1:80"}, '--host: "127.0.0.1:80" names a port: the ports follow from --listen-base'),
        ],
    )
    def test_what_cannot_be_is_refused_with_the_reason(self, wrong, message):
        with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
            layout_at(wrong.pop("base", 4730), **wrong)

    def test_the_highest_base_leaves_room_for_the_last_port(self):
        assert layout_at(65465).nodes[-1].http.port == 65535


class TestPorts:
    def test_free_ones_are_accepted(self):
        require_free_ports(layout_at(free_base()))

    def test_every_taken_one_is_named_with_its_node_and_use(self):
        base = free_base()
        with (
            socket.create_server(("127.0.0.1", base + 10)),
            socket.create_server(("127.0.0.1", base + 21)),
            pytest.raises(ListenError) as refusal,
        ):
            require_free_ports(layout_at(base))
        assert str(refusal.value).splitlines() == [
            f"127.0.0.1:{base + 10}: address already in use (node-2, Gearman)",
            f"127.0.0.1:{base + 21}: address already in use (node-3, mesh)",
            "stop what listens there, or take other ports with --listen-base",
        ]

    def test_nodes_left_over_on_the_same_directory_are_named(self, tmp_path):
        base = free_base()
        (tmp_path / "node-1.pid").write_text(f"{os.getpid()}\n")
        with (
            socket.create_server(("127.0.0.1", base)),
            pytest.raises(ListenError, match=f"node-1 is process {os.getpid()}"),
        ):
            require_free_ports(layout_at(base, directory=tmp_path))

    @pytest.mark.parametrize("content", [None, "", "nonsense", "999999999"])
    def test_a_pid_file_that_names_no_process_is_no_left_over_node(self, tmp_path, content):
        node = layout_at(4730, directory=tmp_path).nodes[0]
        if content is not None:
            node.pid_file.write_text(content)
        assert running_process(node) is None

    def test_nothing_is_made_or_started_when_one_is_taken(self, tmp_path):
        base = free_base()
        with socket.create_server(("127.0.0.1", base)), pytest.raises(ListenError):
            dev(data_dir=tmp_path / "cluster", listen_base=base)
        assert not (tmp_path / "cluster").exists()


class TestSecret:
    def test_is_made_once_and_readable_by_its_owner_only(self, tmp_path):
        path = tmp_path / "new" / "secret"
        made = shared_secret(path)
        assert shared_secret(path) == made
        assert len(made) == 64
        assert path.stat().st_mode & 0o777 == 0o600

    def test_directories_do_not_share_it(self, tmp_path):
        assert shared_secret(tmp_path / "a") != shared_secret(tmp_path / "b")

    def test_a_loose_mode_is_tightened(self, tmp_path):
        path = tmp_path / "secret"
        path.write_text("hush\n")
        path.chmod(0o644)
        assert shared_secret(path) == "hush"
        assert path.stat().st_mode & 0o777 == 0o600

    def test_an_empty_file_is_refused(self, tmp_path):
        (tmp_path / "secret").touch()
        with pytest.raises(ConfigurationError, match="is empty: remove it"):
            shared_secret(tmp_path / "secret")

    def test_a_directory_that_cannot_be_made_is_refused_with_the_reason(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(
            ConfigurationError,
            match=r"^--data-dir: cannot keep the cluster's secret in .*: .*/file is not a directory$",
        ):
            shared_secret(tmp_path / "file" / "secret")


class TestScreen:
    def test_a_line_keeps_its_form_whatever_is_in_it(self, capsys):
        line = '{"event": "x", "text": "[bold]no markup[/] :smile: ' + "long " * 100 + '"}'
        Screen(sys.stdout).log_line("node-1", line)
        assert capsys.readouterr().out == f"node-1   | {line}\n"

    def test_a_reader_who_is_gone_is_noticed_and_harms_nobody(self):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w") as file:
            screen = Screen(file)
            screen.say("anybody there?")
            assert screen.lost
            screen.say("nobody")
            with contextlib.suppress(BrokenPipeError):
                file.close()


class TestCluster:
    def test_starts_every_node_and_tells_what_to_try_once_all_are_ready(self, tmp_path):
        with Terminal(tmp_path) as terminal:
            seen = terminal.until("Ctrl-C stops the cluster")
            for node, port in (("node-1", 0), ("node-2", 10), ("node-3", 20)):
                assert f"{node} is process {terminal.pid(node)}: Gearman at 127.0.0.1:{terminal.base + port}" in seen
                assert f"{node} (process {terminal.pid(node)}) is ready" in seen
                assert f"kill -9 $(cat {tmp_path}/cluster/{node}.pid)" in seen
            servers = ",".join(f"127.0.0.1:{terminal.base + port}" for port in (0, 10, 20))
            assert f"GEARMAN_SERVERS={servers} gearman -w -f wc" in seen
            assert f"gearman -h 127.0.0.1 -p {terminal.base + 20} -f wc" in seen
            assert "on disk on 2 nodes" in seen

    def test_lines_carry_the_name_of_their_node_and_are_plain_in_a_pipe(self, tmp_path):
        with Terminal(tmp_path, nodes=1) as terminal:
            seen = terminal.until("is ready")
            assert re.search(r'^node-1   \| {"event": "started", .*}$', seen, re.MULTILINE)
            assert "\x1b" not in seen

    def test_names_and_levels_are_coloured_on_a_terminal(self, tmp_path):
        with Terminal(tmp_path, nodes=2, on_terminal=True) as terminal:
            seen = terminal.until("Enter starts nodes")
            colours = set(re.findall(r"\x1b\[(\d+)mnode-\d   \| ", seen))
            assert len(colours) == 2
            assert '"level": "\x1b[33mwarning\x1b[0m"' in seen

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_stops_all_nodes_gracefully(self, tmp_path, number):
        with Terminal(tmp_path) as terminal:
            terminal.until("Ctrl-C stops the cluster")
            terminal.signal(number)
            assert terminal.status() == 0
            assert terminal.seen.count("| asked to stop") == 3
            assert not any(running(terminal.pid(f"node-{number}")) for number in (1, 2, 3))

    def test_ctrl_c_reaches_the_nodes_only_as_a_request_to_stop(self, tmp_path):
        with Terminal(tmp_path, on_terminal=True) as terminal:
            terminal.until("Ctrl-C stops the cluster")
            terminal.type(b"\x03")
            assert terminal.status() == 0
            assert "KeyboardInterrupt" not in terminal.seen
            assert terminal.seen.count("asked to stop") == 3

    def test_a_second_signal_kills_what_does_not_stop(self, tmp_path):
        with Terminal(tmp_path, node_2="stubborn") as terminal:
            terminal.until("Ctrl-C stops the cluster")
            terminal.signal(signal.SIGINT)
            terminal.until("asked to stop", times=3)
            terminal.signal(signal.SIGINT)
            assert terminal.status() == 1
            assert "killing what still runs" in terminal.seen

    def test_a_node_that_does_not_stop_cleanly_shows_in_the_exit_status(self, tmp_path):
        with Terminal(tmp_path, node_3="ends badly") as terminal:
            terminal.until("Ctrl-C stops the cluster")
            terminal.signal(signal.SIGTERM)
            assert terminal.status() == 1
            assert "node-3 ended with status 3" in terminal.seen

    def test_a_stop_while_nodes_are_starting_is_clean(self, tmp_path):
        with Terminal(tmp_path) as terminal:
            terminal.until("is process")
            terminal.signal(signal.SIGINT)
            assert terminal.status() == 0
            assert not any(running(int(pid)) for pid in re.findall(r"is process (\d+)", terminal.seen))

    def test_a_killed_node_is_reported_with_its_command_line_and_stays_down(self, tmp_path):
        with Terminal(tmp_path) as terminal:
            terminal.until("Ctrl-C stops the cluster")
            _kill(terminal.pid("node-2"))
            seen = terminal.until("start it again with")
            assert f"node-2 (process {terminal.pid('node-2')}) was ended by SIGKILL" in seen
            command = re.search(r"start it again with: (.*)\n", terminal.until("--log-format console\n"))
            assert "--name node-2 " in command[1]
            assert "\n" not in command[1]
            terminal.signal(signal.SIGTERM)
            assert terminal.status() == 0
            assert terminal.seen.count("node-2 is process") == 1

    def test_enter_starts_again_what_has_ended(self, tmp_path):
        with Terminal(tmp_path, on_terminal=True) as terminal:
            terminal.until("Ctrl-C stops the cluster")
            first = terminal.pid("node-2")
            _kill(first)
            terminal.until("was ended by SIGKILL")
            terminal.type(b"\n")
            terminal.until("is ready", times=4)
            assert terminal.pid("node-2") != first
            assert terminal.seen.count("node-1 is process") == 1
            assert terminal.seen.count("Ready: ") == 1

    def test_on_a_terminal_even_the_last_node_can_be_started_again(self, tmp_path):
        with Terminal(tmp_path, nodes=1, on_terminal=True) as terminal:
            terminal.until("Ctrl-C stops the cluster")
            _kill(terminal.pid("node-1"))
            terminal.until("no node is left")
            terminal.type(b"\n")
            terminal.until("is ready", times=2)
            terminal.type(b"\x03")
            assert terminal.status() == 0

    def test_ends_when_the_last_node_has_and_nobody_can_start_it(self, tmp_path):
        with Terminal(tmp_path, nodes=1) as terminal:
            terminal.until("Ctrl-C stops the cluster")
            _kill(terminal.pid("node-1"))
            assert terminal.status() == 1

    def test_ends_when_no_node_comes_up(self, tmp_path):
        with Terminal(tmp_path, on_terminal=True, node_1="fails", node_2="fails", node_3="fails") as terminal:
            assert terminal.status() == 1
            assert terminal.seen.count("no such luck") == 3
            assert terminal.seen.count("ended with status 1") == 3

    def test_nodes_that_take_long_to_be_ready_are_named_with_their_reasons(self, tmp_path):
        with Terminal(tmp_path, nodes=2, node_2="never ready", slow=1.5) as terminal:
            seen = terminal.until("node-2 is not ready after 1.5 s: no leader is known")
            assert "node-1 is not ready" not in seen
            assert "Ready: " not in seen

    def test_an_output_that_nobody_reads_any_more_stops_the_cluster(self, tmp_path):
        with Terminal(tmp_path) as terminal:
            terminal.until("Ctrl-C stops the cluster")
            pids = [terminal.pid(f"node-{number}") for number in (1, 2, 3)]
            terminal.hang_up()
            _kill(pids[0])
            assert terminal.process.wait(PATIENCE) == 0
            assert not any(map(running, pids))

    def test_what_else_is_in_the_directory_is_pointed_out(self, tmp_path):
        (tmp_path / "cluster" / "node-4").mkdir(parents=True)
        (tmp_path / "cluster" / "node.db").touch()
        with Terminal(tmp_path) as terminal:
            seen = terminal.until("is process")
            assert "also holds node-4: members that stay down count as lost nodes" in seen
            assert "also holds the queue of a single node" in seen
