"""docs/configuration.md says of every setting, and of every option of gearmand, what the program does with it."""

import re
from pathlib import Path

import pytest

from node.configuration import load
from node.configuration.gearmand import REFUSED
from node.configuration.settings import CONFIG_VARIABLE, SECRET_VARIABLE, SETTINGS, SITE_VARIABLE
from tests.node.test_cli import GEARMANDS_OPTIONS

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
ROWS = {line.split("`")[1]: line for line in PAGE.splitlines() if line.startswith("| `") and "GEARMESH_" in line}


class TestThePage:
    def test_has_one_row_for_each_setting_and_no_other(self):
        assert sorted(ROWS) == sorted(setting.field for setting in SETTINGS)

    @pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.field)
    def test_names_its_flags_and_its_variable(self, setting):
        for name in (setting.flag, *setting.short, setting.variable):
            assert f"`{name}`" in ROWS[setting.field]

    @pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.field)
    def test_states_the_true_default(self, setting):
        stated = ROWS[setting.field].split("|")[4].strip().strip("`").split(" (")[0]
        assert stated
        if stated == "not set" or setting.field in ("name", "data_dir", "job_handle_prefix", "file_descriptors"):
            assert not re.fullmatch(r"[0-9.-]+", stated)
            return
        written = [stated] if setting.repeats else stated
        assert load({setting.field: written}, {}).configuration == load({}, {}).configuration

    def test_says_not_set_of_what_is_not(self):
        unset = load({}, {}).configuration
        for setting in SETTINGS:
            if ROWS[setting.field].split("|")[4].strip() == "not set":
                assert getattr(unset, setting.field) in (None, ())
                assert not setting.none

    def test_names_the_variables_that_set_no_field_by_their_name(self):
        for variable in (CONFIG_VARIABLE, SECRET_VARIABLE, SITE_VARIABLE):
            assert f"`{variable}`" in PAGE

    def test_names_every_option_of_gearmand(self):
        page = PAGE.partition("## Coming from gearmand")[2]
        for option in GEARMANDS_OPTIONS.split():
            assert re.search(rf"`{option}(\[=LEVEL\])?`", page), option

    @pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused.flags[-1])
    def test_says_what_to_do_instead_of_a_refused_option(self, refused):
        (row,) = (line for line in PAGE.splitlines() if line.startswith("| `") and line.endswith(f"{refused.hint} |"))
        for flag in refused.flags:
            assert f"`{flag}`" in row

    def test_shows_an_example_that_works(self, tmp_path):
        example = PAGE.partition('    name = "queue-1"')
        lines = (example[1] + example[2].partition("\n\n")[0]).splitlines()
        file = tmp_path / "example.toml"
        file.write_text("\n".join(line.strip() for line in lines), encoding="utf-8")
        assert load({}, {}, config_file=str(file)).configuration.max_packet == 16 * 1024 * 1024
