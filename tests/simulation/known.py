"""Kinds of world that the product does not survive yet: what goes wrong in each, and what the judge says of it.

They are not among `profile.KINDS`, so `make sim` does not draw them; `python -m tests.simulation --known` plays them. A
test asserts that the judge sees each within a bounded number of seeds: on the day when the product survives one, that
test fails, and the kind belongs to `KINDS`.
"""

import msgspec

from tests.simulation.journal import ViolationError


class Known(msgspec.Struct, frozen=True):
    """One such kind."""

    faults: dict[str, int]
    """As in `profile.KINDS`."""
    what: str
    """What goes wrong, in plain words."""
    says: str
    """A part of what the judge says, when it sees it."""
    nodes: int = 3
    scaled: bool = False
    steady: bool = True
    """Whether a majority is mostly healthy (`profile.STEADY`)."""
    exact: bool = False
    """As in `profile.Profile`."""
    seeds: int = 40
    """Within how many seeds it is seen."""


KNOWN: dict[str, Known] = {
    "leaping clock": Known(
        {"step_leader": 5},
        "a leader's clock leaps, and the time of the job table stays where it was when the clock is put right",
        "ahead of the true one",
        exact=True,
    ),
}


def look(name: str) -> tuple[int, str]:
    """Play a kind until the judge says something; return the seed and what it said, which is nothing if all passed."""
    from tests.simulation.simulation import simulate  # it plays what is named here

    known = KNOWN[name]
    for seed in range(1, known.seeds + 1):
        try:
            simulate(seed, kind=name)
        except ViolationError as error:
            return seed, str(error)
    return known.seeds, ""
