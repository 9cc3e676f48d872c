"""docs/site.md names every metric, path and code that there is."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parse

from node.site.metrics import exposition
from tests.node.site.scenery import SHORT, TABLE

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "site.md").read_text(encoding="utf-8")
SOURCE = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "node" / "site").glob("*.py"))


class TestThePage:
    def test_names_every_metric_and_no_other(self):
        text, _ = exposition(SHORT, TABLE, "")
        names = {sample.name for family in parse(text.decode()) for sample in family.samples}
        ours = {name for name in names if name.startswith("gear")}
        assert set(re.findall(r"`(gear(?:man|mesh)_\w+)`", PAGE)) == ours

    def test_names_every_code_of_an_error_and_no_other(self):
        codes = set(re.findall(r'^\s*HTTPStatus\.\w+,\s*"(\w+)"', SOURCE, re.MULTILINE))
        codes |= set(re.findall(r'HTTPStatus\.\w+, "(\w+)"', SOURCE))
        codes |= set(re.findall(r'HTTPStatus\.\w+: \("(\w+)"', SOURCE)) | {"method_not_allowed"}
        table = PAGE.partition("## Errors")[2].partition("## Who")[0]
        rows = [line.split("|")[2] for line in table.splitlines() if re.match(r"\| [0-9]", line)]
        assert set(re.findall(r"`(\w+)`", "".join(rows))) == codes

    def test_names_every_path(self):
        for method, path in re.findall(r'web\.(get|post|delete)\("([^"]+)"', SOURCE):
            assert f"`{method.upper()} {path.replace('{node}', 'NODE')}`" in PAGE
