"""The seeded faults fit the code as it is: one that no longer applies would prove nothing."""

import re

import pytest

from tests.simulation.known import KNOWN
from tests.simulation.mutants import MUTANTS, ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_has_its_one_place_in_the_tree(mutant):
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old


def test_no_two_faults_have_the_same_name():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


class TestThePageOfBugs:
    """docs/bugs.md names what shows each: that has to be there."""

    PAGE = (ROOT / "docs" / "bugs.md").read_text()

    def test_names_faults_that_are_seeded(self):
        named = set(re.findall(r"(?<![\w*])\*([^*|\n]+)\*(?!\*)", self.PAGE)) - {"mutant"}
        assert named
        assert named <= {mutant.name for mutant in MUTANTS} | set(KNOWN)

    def test_names_tests_that_exist(self):
        files = list((ROOT / "tests").rglob("test_*.py"))
        there = {path.stem for path in files}
        for path in files:
            there.update(re.findall(r"def (test_\w+)\(", path.read_text()))
        named = set(re.findall(r"`(test_\w+)`", self.PAGE))
        assert named
        assert named <= there
