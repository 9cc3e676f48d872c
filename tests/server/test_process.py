"""The server as a process: how it starts, stops, refuses to start, and what it leaves behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import PATIENCE, REPOSITORY, Client, PacketType, ServerDiedError, ServerProcess, Worker, eventually


def gearmesh(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GEARMESH_")}
    return subprocess.run(
        [sys.executable, "-m", "node", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=REPOSITORY,
        env=clean | (environment or {}),
        check=False,
    )


class TestStarting:
    def test_the_address_is_logged(self, start_server):
        server = start_server()
        assert [event["address"] for event in server.events("listening")] == [server.address]

    def test_port_0_is_replaced_by_the_port_that_was_taken(self, tmp_path):
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "node", "serve", "--listen", "127.0.0.1:0", "--http", "none"),
                *("--data-dir", str(tmp_path / "data"), "--log-format", "json"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=REPOSITORY,
        )
        try:
            assert process.stdout is not None
            event = next(event for event in map(json.loads, process.stdout) if event["event"] == "listening")
            host, _, port = event["address"].rpartition(":")
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as peer:
                peer.sendall(b"getpid\n")
                assert peer.recv(100) == b"OK %d\n" % process.pid
        finally:
            process.kill()
            process.communicate()

    def test_the_pid_file_is_there_once_the_server_listens_and_gone_when_it_has_ended(self, start_server, tmp_path):
        pid_file = tmp_path / "gearmesh.pid"
        server = start_server("--pid-file", str(pid_file))
        assert int(pid_file.read_text()) == server.pid
        assert server.terminate() == 0
        assert not pid_file.exists()

    def test_several_addresses_may_be_listened_on(self, start_server):
        server = start_server("--listen", "127.0.0.3:0")
        listening = [str(event["address"]) for event in server.events("listening", count=2)]
        assert len(listening) == 2
        for address in listening:
            host, _, port = address.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as peer:
                peer.sendall(b"version\n")
                assert peer.recv(100).startswith(b"OK ")

    async def test_a_command_line_made_for_gearmand_is_understood(self, tmp_path):
        server = ServerProcess(tmp_path)
        server.command = lambda: [
            *(sys.executable, "-m", "node", "serve", "--data-dir", str(tmp_path / "data"), "--http", "none"),
            *("-L", server.host, "-p", str(server.port), "-P", str(tmp_path / "pid"), "-l", str(tmp_path / "log")),
            *("-v", "INFO", "-j", "3", "-R", "-b", "64", "-f", "10000", "--job-handle-prefix", "H:mine"),
            *("--keepalive", "--keepalive-idle", "30", "--keepalive-interval", "10", "--keepalive-count", "3"),
        ]
        with server:
            assert int((tmp_path / "pid").read_text()) == server.pid
            async with await Client.open(server.port) as client:
                assert (await client.submit_background(b"f")).startswith(b"H:mine")

    async def test_exceptions_may_be_turned_on_for_every_connection(self, start_server):
        server = start_server("--exceptions")
        async with await Client.open(server.port) as client, await Worker.open(server.port) as worker:
            await worker.can_do(b"f")
            handle = await client.submit(b"f")
            await worker.take()
            worker.throw(handle, b"boom")
            assert await client.expect(PacketType.WORK_EXCEPTION) == (handle, b"boom")

    def test_an_empty_environment_does_no_harm(self, tmp_path):
        server = ServerProcess(tmp_path)
        command = ["/usr/bin/env", "-i", *server.command()]
        server.command = lambda: command
        with server:
            assert server.running

    @pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
    def test_standard_streams_that_are_closed_or_full_do_no_harm(self, tmp_path, closed):
        server = ServerProcess(tmp_path)
        command = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *server.command()]
        server.command = lambda: command
        with server:
            for _ in range(3):
                with socket.create_connection((server.host, server.port), timeout=PATIENCE) as peer:
                    peer.sendall(b"nonsense\n\0BAD")
                    assert peer.recv(100).startswith(b"ERR ")
            assert server.running

    def test_a_log_that_nobody_reads_does_not_stop_the_server(self, tmp_path):
        os.mkfifo(tmp_path / "log")
        unread = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
        server = ServerProcess(tmp_path, "--log-level", "debug")
        command = ["/bin/sh", "-c", f'exec "$@" >{tmp_path}/log 2>&1', "sh", *server.command()]
        server.command = lambda: command
        try:
            with server:
                # More than a pipe holds, at a few hundred bytes for each connection.
                for _ in range(1000):
                    with socket.create_connection((server.host, server.port), timeout=PATIENCE) as peer:
                        peer.sendall(b"version\n" + b"\0BAD")
                        assert peer.recv(100).startswith(b"OK ")
                assert server.running
        finally:
            os.close(unread)


class TestStopping:
    async def test_sigterm_ends_it_promptly_though_connections_are_open(self, start_server):
        server = start_server()
        async with await Client.open(server.port) as client, await Worker.open(server.port) as worker:
            await client.submit_background(b"f")
            await client.submit(b"g")
            await worker.can_do(b"nothing")
            worker.sleep()
            await worker.expect_nothing()
            assert server.terminate(within=5) == 0

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
    def test_both_signals_end_it_with_status_0(self, start_server, number):
        server = start_server()
        server.signal(number)
        assert server.wait(within=5) == 0

    async def test_a_running_job_may_end_before_the_server_does(self, start_server):
        server = start_server("--drain-timeout", "30")
        async with await Client.open(server.port) as client, await Worker.open(server.port) as worker:
            await worker.can_do(b"f")
            handle = await client.submit(b"f")
            assert (await worker.take()).handle == handle
            server.signal(signal.SIGTERM)

            async def refuses_connections() -> bool:
                try:
                    await (await Client.open(server.port)).close()
                except OSError:
                    return True
                return False

            await eventually(refuses_connections)
            assert server.running
            worker.complete(handle, b"just in time")
            assert await client.completed(handle) == b"just in time"
            assert server.wait(within=5) == 0

    async def test_a_job_that_does_not_end_in_time_is_run_again_after_the_next_start(self, start_server):
        server = start_server("--drain-timeout", "0.3")
        async with await Client.open(server.port) as client, await Worker.open(server.port) as worker:
            await worker.can_do(b"f")
            handle = await client.submit_background(b"f")
            assert (await worker.take()).handle == handle
            assert server.terminate(within=5) == 0
        server.start()
        async with await Worker.open(server.port) as worker:
            await worker.can_do(b"f")
            assert (await worker.take()).handle == handle

    def test_it_starts_again_on_the_same_port_at_once(self, start_server):
        server = start_server()
        for _ in range(3):
            with socket.create_connection((server.host, server.port), timeout=PATIENCE) as peer:
                peer.sendall(b"version\n")
                peer.recv(100)
                server.restart()
        assert server.running


class TestRefusingToStart:
    @pytest.mark.parametrize(
        ("arguments", "hint"),
        [
            (["serve", "--nonsense"], "--nonsense"),
            (["serve", "--data-dirr", "x"], "--data-dir"),
            (["serve", "--port", "many"], "port"),
            (["serve", "--listen", "127.0.0.1:99999"], "99999"),
            (["serve", "--max-packet", "-1"], "max-packet"),
            (["serve", "--queue-type", "libsqlite3"], "--queue-type"),
            (["serve", "--daemon"], "--daemon"),
            (["serve", "--hashtable-buckets", "100"], "--hashtable-buckets"),
            (["nonsense"], "nonsense"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else None,
    )
    def test_a_usage_error_is_status_1_and_names_the_option(self, arguments, hint):
        outcome = gearmesh(*arguments)
        assert outcome.returncode == 1
        assert hint in outcome.stderr
        assert "Traceback" not in outcome.stderr

    def test_an_unknown_key_of_the_configuration_is_refused_with_the_nearest_name(self, tmp_path):
        path = tmp_path / "gearmesh.toml"
        path.write_text("job_retires = 3\n")
        outcome = gearmesh("serve", "--config", str(path), "--check-config")
        assert outcome.returncode == 1
        assert "job_retires" in outcome.stderr
        assert "job_retries" in outcome.stderr

    def test_an_unknown_variable_is_refused_with_the_nearest_name(self):
        outcome = gearmesh("serve", "--check-config", environment={"GEARMESH_JOB_RETIRES": "3"})
        assert outcome.returncode == 1
        assert "GEARMESH_JOB_RETRIES" in outcome.stderr

    @pytest.mark.parametrize("flag", ["--check-config", "--check-args"])
    def test_good_settings_pass_the_check(self, tmp_path, flag):
        outcome = gearmesh("serve", flag, "--data-dir", str(tmp_path / "data"), "-p", "4731", "-j", "3")
        assert (outcome.returncode, outcome.stderr) == (0, "")
        assert not (tmp_path / "data").exists()

    def test_a_second_server_on_the_same_data_is_refused_and_the_first_goes_on(self, start_server):
        server = start_server()
        outcome = gearmesh(
            "serve", "--listen", "127.0.0.1:0", "--http", "none", "--data-dir", str(server.data_directory)
        )
        assert outcome.returncode == 1
        assert str(server.data_directory) in outcome.stderr
        assert "Traceback" not in outcome.stderr
        assert server.running

    def test_a_port_that_is_taken_is_named(self, start_server, tmp_path):
        server = start_server()
        outcome = gearmesh("serve", "--listen", server.address, "--data-dir", str(tmp_path / "other"))
        assert outcome.returncode == 1
        assert str(server.port) in outcome.stderr
        assert "Traceback" not in outcome.stderr

    def test_a_data_file_that_is_none_is_refused_with_advice(self, tmp_path):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "node.db").write_bytes(b"this is no database " * 500)
        server = ServerProcess(tmp_path)
        with pytest.raises(ServerDiedError):
            server.start()
        assert "node.db" in server.log()
        assert "Traceback" not in server.log()
        assert (tmp_path / "data" / "node.db").read_bytes().startswith(b"this is no database")

    def test_a_data_directory_that_cannot_be_made_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        outcome = gearmesh(
            "serve", "--listen", "127.0.0.1:0", "--http", "none", "--data-dir", str(tmp_path / "file" / "data")
        )
        assert outcome.returncode == 1
        assert str(tmp_path / "file") in outcome.stderr
        assert "Traceback" not in outcome.stderr


class TestLogging:
    async def test_nothing_is_logged_at_info_level_for_jobs_and_connections(self, start_server):
        server = start_server()
        before = server.log()
        async with await Client.open(server.port) as client, await Worker.open(server.port) as worker:
            await worker.can_do(b"f")
            for _ in range(50):
                handle = await client.submit(b"f")
                assert (await worker.take()).handle == handle
                worker.complete(handle)
                await client.completed(handle)
        assert len(server.log().splitlines()) - len(before.splitlines()) <= 1

    def test_every_line_of_a_json_log_is_an_event(self, start_server):
        server = start_server()
        assert server.terminate() == 0
        events = [json.loads(line) for line in server.log().splitlines()]
        assert all(event["event"] == event["event"].lower() and " " not in event["event"] for event in events)
        assert {"listening"} <= {event["event"] for event in events}

    def test_a_log_file_is_appended_to(self, start_server, tmp_path):
        log: Path = tmp_path / "gearmesh.log"
        server = start_server("--log-file", str(log))
        first = log.read_text()
        server.terminate()
        server.start()
        assert log.read_text().startswith(first)
        assert log.read_text().count('"recovered"') == 2
