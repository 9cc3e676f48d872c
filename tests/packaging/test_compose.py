"""The Compose file, as Compose itself reads it; no engine is asked."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import compose as compose_package
import pytest

from node.configuration.settings import SETTINGS

ROOT = Path(__file__).parents[2]
COMPOSE = Path(compose_package.__file__).with_name("docker-compose")
"""Compose itself: the script that the package installs beside it loses the exit status."""
FILE = ROOT / "docker-compose.yml"
NODES = ("node-1", "node-2", "node-3")


def compose(*arguments: str, file: Path = FILE, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | variables
    return subprocess.run(
        [COMPOSE, "--file", file, "--project-directory", ROOT, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def read(**variables: str) -> dict:
    answer = compose("config", "--format", "json", **variables)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""  # a variable without a default is a warning
    return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def project():
    return read()


class TestComposeFile:
    def test_it_is_valid_with_nothing_set_and_without_a_warning(self):
        answer = compose("config", "--quiet")
        assert (answer.returncode, answer.stderr) == (0, "")

    def test_compose_would_refuse_what_it_does_not_know(self, tmp_path):
        wrong = tmp_path / "docker-compose.yml"
        wrong.write_text(FILE.read_text().replace("restart: unless-stopped", "restarts: unless-stopped"))
        answer = compose("config", "--quiet", file=wrong)
        assert answer.returncode != 0
        assert "restarts" in answer.stderr

    def test_three_nodes_share_one_bridge_and_are_told_to_expect_three(self, project):
        assert set(project["services"]) == {"secret", *NODES}
        for name in NODES:
            node = project["services"][name]
            assert node["hostname"] == name
            assert node["environment"]["GEARMESH_EXPECT"] == "3"
            assert node["environment"]["GEARMESH_DISCOVERY"] == "mdns"
            assert list(node["networks"]) == ["gearmesh"]
        assert project["networks"]["gearmesh"]["driver"] == "bridge"

    def test_one_service_provides_the_image_for_all(self, project):
        assert {service["image"] for service in project["services"].values()} == {"gearmesh:local"}
        assert [name for name, service in project["services"].items() if "build" in service] == ["secret"]
        assert {project["services"][name]["pull_policy"] for name in NODES} == {"never"}

    def test_each_node_has_its_ports_of_this_machine_only(self, project):
        ports = {
            name: [(port["host_ip"], port["published"], port["target"]) for port in project["services"][name]["ports"]]
            for name in NODES
        }
        assert ports == {
            "node-1": [("127.0.0.1", "4730", 4730), ("127.0.0.1", "4780", 4780)],
            "node-2": [("127.0.0.1", "4740", 4730), ("127.0.0.1", "4790", 4780)],
            "node-3": [("127.0.0.1", "4750", 4730), ("127.0.0.1", "4800", 4780)],
        }

    def test_ports_can_be_published_elsewhere(self):
        published = read(GEARMESH_PUBLISH="192.0.2.1")["services"]["node-1"]["ports"]
        assert {port["host_ip"] for port in published} == {"192.0.2.1"}

    def test_each_node_keeps_its_data_in_a_volume_of_its_own(self, project):
        data = [
            volume["source"]
            for name in NODES
            for volume in project["services"][name]["volumes"]
            if volume["target"] == "/var/lib/gearmesh"
        ]
        assert data == list(NODES)
        assert set(project["volumes"]) == {*NODES, "secret"}

    def test_no_node_holds_the_secret_in_its_environment(self):
        project = read(GEARMESH_SECRET="given by a variable")
        assert project["services"]["secret"]["environment"] == {"GEARMESH_SECRET": "given by a variable"}
        for name in NODES:
            node = project["services"][name]
            assert node["environment"]["GEARMESH_SECRET_FILE"] == "/run/gearmesh/secret"
            assert "GEARMESH_SECRET" not in node["environment"]
            assert node["depends_on"]["secret"]["condition"] == "service_completed_successfully"

    def test_a_file_can_give_the_secret(self):
        assert read(GEARMESH_SECRET_FILE="/some/file")["secrets"]["given"]["file"] == "/some/file"

    def test_stopping_leaves_time_to_drain(self, project):
        for name in NODES:
            grace = project["services"][name]["stop_grace_period"]
            assert int(grace.removesuffix("s")) > int(
                project["services"][name]["environment"]["GEARMESH_DRAIN_TIMEOUT"]
            )

    def test_nodes_are_restarted_checked_and_confined(self, project):
        for name in NODES:
            node = project["services"][name]
            assert node["restart"] == "unless-stopped"
            assert int(node["mem_limit"]) == 2 << 30
            assert node["healthcheck"]["test"] == ["CMD", "gearmesh", "healthcheck", "--ready"]
            assert node["read_only"] is True
            assert node["cap_drop"] == ["ALL"]

    def test_every_variable_is_a_setting(self, project):
        known = {setting.variable for setting in SETTINGS}
        given = {variable for name in NODES for variable in project["services"][name]["environment"]}
        assert given <= known


class TestSecretScript:
    """The script that the service `secret` runs, on directories of this machine."""

    @pytest.fixture
    def script(self, project, tmp_path):
        (command,) = project["services"]["secret"]["command"]
        assert project["services"]["secret"]["entrypoint"] == ["sh", "-euc"]
        volume, given = tmp_path / "volume", tmp_path / "given"
        volume.mkdir()
        given.touch()
        command = (
            command.replace("$$", "$").replace("/run/gearmesh", str(volume)).replace("/run/secrets/given", str(given))
        )
        command, changed = re.subn(r"\bchown 10001:10001\b", f"chown {os.getuid()}:{os.getgid()}", command)
        assert changed == 1

        def run(*, value: str = "", file: str = "") -> str:
            given.write_text(file)
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            subprocess.run(
                ["sh", "-euc", command],
                env={"GEARMESH_SECRET": value, "PATH": path},
                check=True,
                capture_output=True,
                text=True,
            )
            assert [found.name for found in volume.iterdir()] == ["secret"]
            assert (volume / "secret").stat().st_mode & 0o777 == 0o600
            return (volume / "secret").read_text().rstrip("\n")

        return run

    def test_makes_a_secret_once_and_keeps_it(self, script):
        made = script()
        assert re.fullmatch(r"[0-9a-f]{64}", made)
        assert script() == made

    def test_takes_the_variable_before_anything_else(self, script):
        assert script(value='with "quotes" and $signs %s', file="from a file") == 'with "quotes" and $signs %s'

    def test_takes_the_file_when_there_is_no_variable(self, script):
        assert script(file="all from one file\n") == "all from one file"

    def test_follows_a_secret_that_is_changed_and_keeps_one_that_is_not_given_any_more(self, script):
        assert script(value="the first of them") == "the first of them"
        assert script(value="the second of them") == "the second of them"
        assert script() == "the second of them"

    def test_refuses_one_that_can_be_guessed_and_keeps_the_one_before(self, script):
        made = script()
        with pytest.raises(subprocess.CalledProcessError) as refusal:
            script(value="fifteen letters")
        assert "needs 16 characters or more" in refusal.value.stderr
        assert script() == made
