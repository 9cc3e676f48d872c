"""The image, as far as it can be judged without an engine."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from node.configuration.settings import SETTINGS

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def instructions(name: str, text: str = DOCKERFILE) -> list[str]:
    """Return what follows an instruction, each time it is there."""
    joined = re.sub(r"\\\n", " ", text)
    return [" ".join(found.split()) for found in re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)]


BUILD_STAGE, LAST_STAGE = re.split(r"^(?=FROM )", DOCKERFILE, flags=re.MULTILINE)[1:]


class TestDockerfile:
    def test_hadolint_finds_nothing(self):
        answer = subprocess.run([BIN / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
        assert (answer.returncode, answer.stdout) == (0, "")

    def test_hadolint_would_find_something(self):
        answer = subprocess.run(
            [BIN / "hadolint", "-"], input="FROM debian\nRUN cd /tmp\n", capture_output=True, text=True, check=False
        )
        assert answer.returncode == 1
        assert "DL3006" in answer.stdout

    def test_nothing_is_installed_or_compiled_in_the_last_stage(self):
        assert not re.search(r"\b(pip|apt-get|gcc)\b", LAST_STAGE)
        assert instructions("COPY", LAST_STAGE) == ["--from=build /opt/gearmesh /opt/gearmesh"]

    def test_every_package_of_the_project_is_copied(self):
        packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
        for pattern in packages["include"]:
            name = pattern.removesuffix("*")
            assert f"{name} {name}" in instructions("COPY", BUILD_STAGE)

    def test_what_is_copied_is_all_that_the_engine_is_sent(self):
        sent = {
            line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
        }
        copied = {name for line in instructions("COPY", BUILD_STAGE) for name in line.split()[:-1]}
        assert sent == copied
        assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"

    def test_no_file_that_is_copied_is_kept_back(self):
        kept_back = [
            line
            for line in (ROOT / ".dockerignore").read_text().splitlines()
            if line and line[0] not in "#!" and line != "*"
        ]
        assert kept_back == ["**/__pycache__"]
        assert not any(fnmatch.fnmatch("node/cli.py", pattern) for pattern in kept_back)

    def test_it_runs_as_a_numbered_user_that_is_not_root(self):
        assert instructions("USER", LAST_STAGE) == ["10001:10001"]

    def test_the_program_is_the_first_process_so_that_signals_reach_it(self):
        assert instructions("ENTRYPOINT") == ['["gearmesh"]']
        assert instructions("CMD", LAST_STAGE) == ['["serve"]']
        assert instructions("STOPSIGNAL") == ["SIGTERM"]

    def test_health_is_being_alive_which_does_not_depend_on_other_nodes(self):
        (health,) = instructions("HEALTHCHECK")
        assert health.endswith('CMD ["gearmesh", "healthcheck"]')

    def test_what_is_exposed_is_what_a_node_listens_on(self):
        assert instructions("EXPOSE") == ["4730 4731 4780"]

    def test_the_data_directory_is_the_volume(self):
        assert instructions("VOLUME") == ["/var/lib/gearmesh"]
        assert "GEARMESH_DATA_DIR=/var/lib/gearmesh" in LAST_STAGE

    @pytest.mark.parametrize("variable", sorted(set(re.findall(r"\bGEARMESH_[A-Z_]+", DOCKERFILE))))
    def test_every_variable_is_a_setting(self, variable):
        assert variable in {setting.variable for setting in SETTINGS}

    def test_no_builder_in_particular_is_needed(self):
        assert not re.search(r"^# *syntax=|--mount|--link|<<", DOCKERFILE, re.MULTILINE)
