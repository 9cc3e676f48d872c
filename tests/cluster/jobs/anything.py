"""Strategies for whatever a peer could bring before the table: well-typed, and otherwise without sense.

Not for: plausible stories. `test_against_model` tells those.
"""

import typing

import msgspec
from hypothesis import strategies as st

from cluster.jobs import Batch, Command, NodeDown, NodeUp, Proposal, propose

FAR = st.sampled_from([-(2**63), -(2**32), -1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1])
integers = st.integers(0, 4) | st.integers(0, 4) | FAR | st.integers(-(2**63), 2**64 - 1)
blobs = st.sampled_from([b"", b"f", b"g", b"u", b"-", b"H:1", b":2"]) | st.binary(max_size=20)
texts = st.sampled_from(["", "a", "b"]) | st.text(st.characters(codec="utf-8"), max_size=5)
BY_TYPE = {int: integers, bytes: blobs, str: texts, bool: st.booleans()}


def instances(struct: type) -> st.SearchStrategy:
    """Give any instance of a command."""
    return st.builds(struct, **{field.name: BY_TYPE[field.type] for field in msgspec.structs.fields(struct)})


commands = st.one_of([instances(struct) for struct in typing.get_args(Command)])
batches = st.builds(Batch, node=texts, incarnation=integers, first=integers, commands=st.lists(commands, max_size=4))
proposals: st.SearchStrategy[Proposal] = st.builds(
    propose, integers, st.lists(batches, max_size=3), st.lists(instances(NodeDown), max_size=2)
)


def opening(said: list) -> Proposal:
    """Give a proposal that is sure to be heard: a node's new incarnation and what it says."""
    return propose(5, [Batch("a", 1, 1, [NodeUp(b"H", -1), *said])])
