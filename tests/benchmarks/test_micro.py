"""Each part that is measured by itself does all of its work, whatever the batch."""

import pytest

from benchmarks.micro import PARTS


class TestParts:
    @pytest.mark.parametrize("batch", [1, 7, 100])
    @pytest.mark.parametrize("name", PARTS)
    def test_a_part_ends_its_work_and_takes_time(self, name, batch, tmp_path):
        assert PARTS[name](100, batch, tmp_path) > 0.0
        assert list(tmp_path.iterdir()) == []
