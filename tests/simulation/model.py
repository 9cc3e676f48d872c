"""The log's own job table beside an implementation of the same rules that shares no code with it.

`Reference` is the product's table, as the log alone makes it. Its effects for all nodes are compared with those of
`tests.cluster.jobs.naive` at each entry, and so is everything visible of its state: some 0.02 s of processor time a
seed. The order of jobs, priorities, delays, time limits and retries are judged there.

Not for: when things happen. Both read the time from the entries; `punctuality` compares that with the true time.
"""

from typing import Any

from cluster.jobs import Batch, Effect, JobTable, Node, Proposal, departures, lifecycle
from tests.cluster.jobs.naive import NaiveTable
from tests.cluster.jobs.views import describe, observe
from tests.simulation.journal import ViolationError


class Reference(JobTable):
    """A job table that collects the effects for every node."""

    def _admit(self, batch: Batch) -> Node | None:
        node = super()._admit(batch)
        if node is not None:
            node.audible = True
        return node

    def effects(self) -> dict[str, list[Effect]]:
        """Take out the effects of the entry that was just applied, by node."""
        found: dict[str, list[Effect]] = {}
        for name, node in self.nodes.items():
            if node.effects:
                found[name], node.effects = node.effects, []
        return found


class Model:
    """Applies each committed entry to both tables and compares them."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self.naive: Any = NaiveTable()

    def apply(self, index: int, proposal: Proposal) -> None:
        """Apply an entry."""
        self.naive.step, self.naive.due = departures.STEP, lifecycle.DUE
        told = self.naive.apply(proposal)
        self._reference.apply(proposal)
        found = self._reference.effects()
        expected: dict[str, list[tuple[Any, ...]]] = {}
        for name, effect in told:
            expected.setdefault(name, []).append(effect)
        for name in {**expected, **found}:
            said, wanted = [describe(effect) for effect in found.get(name, ())], expected.get(name, [])
            if said != wanted:
                raise ViolationError(f"entry {index} tells {name} something else than the model: {_odd(said, wanted)}")
        state, wanted = observe(self._reference), self.naive.observe()
        if state != wanted:
            raise ViolationError(f"the job table at {index} is not what the model says: {_difference(state, wanted)}")


def _odd(said: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> str:
    """Name the first effect in which two lists differ."""
    for position in range(max(len(said), len(expected))):
        one, other = said[position : position + 1], expected[position : position + 1]
        if one != other:
            return f"{_brief(one)}, not {_brief(other)}"
    return "none"


def _difference(state: Any, expected: Any) -> str:
    """Name the first thing in which two states differ."""
    if isinstance(state, dict) and isinstance(expected, dict):
        for key in {**state, **expected}:
            if state.get(key) != expected.get(key):
                return f"{key}: {_difference(state.get(key), expected.get(key))}"
    return f"{_brief(state)}, not {_brief(expected)}"


def _brief(thing: Any) -> str:
    text = repr(thing)
    return text if len(text) <= 200 else f"{text[:200]}..."
