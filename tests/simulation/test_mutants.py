"""The seeded faults fit the code as it is: one that no longer applies would prove nothing."""

import pytest

from tests.simulation.mutants import MUTANTS, ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_has_its_one_place_in_the_tree(mutant):
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old


def test_no_two_faults_have_the_same_name():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
