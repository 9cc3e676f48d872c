"""Which configuration was in force where."""

from cluster.log import Entry, EntryKind
from cluster.raft import Configuration, SnapshotMeta, encode_configuration
from cluster.raft.history import ConfigurationHistory

ONE, TWO, THREE = Configuration(("a",)), Configuration(("a", "b")), Configuration(("a", "b", "c"))


def entered(index, configuration):
    return Entry(index, 1, EntryKind.CONFIGURATION, encode_configuration(configuration))


def history():
    commands = Entry(6, 1, EntryKind.COMMANDS, b"x")
    return ConfigurationHistory(SnapshotMeta(3, 1, ONE), [entered(5, TWO), commands, entered(8, THREE)])


class TestHistory:
    def test_the_latest_is_in_force(self):
        assert (history().current, history().index) == (THREE, 8)

    def test_each_index_has_its_own(self):
        assert [history().at(index) for index in (3, 4, 5, 7, 8, 99)] == [ONE, ONE, TWO, TWO, THREE, THREE]

    def test_what_may_still_count_is_what_was_in_force_at_the_commit_and_since(self):
        assert [history().since(index) for index in (3, 7, 8, 99)] == [
            [ONE, TWO, THREE],
            [TWO, THREE],
            [THREE],
            [THREE],
        ]

    def test_truncating_takes_back_what_was_entered(self):
        past = history()
        past.truncate(8)
        assert (past.current, past.index) == (TWO, 5)
        past.truncate(4)
        assert (past.current, past.index) == (ONE, 3)

    def test_commands_change_nothing(self):
        past = history()
        assert not past.note([Entry(9, 1, EntryKind.COMMANDS, b""), Entry(10, 1, EntryKind.BARRIER, b"")])
        assert past.note([entered(11, ONE)])
        assert past.current == ONE

    def test_compaction_keeps_the_one_of_the_new_base(self):
        past = history()
        past.compact(6)
        assert [past.at(index) for index in (6, 7, 8)] == [TWO, TWO, THREE]
        past.compact(8)
        assert past.at(8) == THREE

    def test_bug_22_a_snapshot_brings_its_own(self):
        past = history()
        past.restore(SnapshotMeta(20, 4, TWO))
        assert (past.current, past.index) == (TWO, 20)
