"""Memory is given back once, when a long queue has gone, and not for the ups and downs of a short one."""

from node import memory
from node.memory import QueueMemory, trim


class TestQueueMemory:
    def test_is_worth_giving_back_when_most_of_a_long_queue_has_gone(self):
        watched = QueueMemory()
        assert [watched.drained(jobs) for jobs in (0, 10_000, 5_000, 2_501, 2_500)] == [False] * 4 + [True]

    def test_is_given_back_once_for_each_long_queue(self):
        watched = QueueMemory()
        assert [watched.drained(jobs) for jobs in (10_000, 0, 0, 10, 10_000, 0)] == [False, True, False] + [
            False
        ] * 2 + [True]

    def test_is_not_worth_it_for_a_short_queue(self):
        watched = QueueMemory()
        assert not any(watched.drained(jobs) for jobs in (QueueMemory.WORTH_TRIMMING - 1, 0))


class TestTrim:
    def test_asks_the_c_library_to_return_all_it_can(self, monkeypatch):
        asked: list[int] = []
        monkeypatch.setattr(memory, "_LIBRARY", type("Library", (), {"malloc_trim": staticmethod(asked.append)}))
        trim()
        assert asked == [0]

    def test_is_nothing_where_the_c_library_cannot(self, monkeypatch):
        library = object()
        monkeypatch.setattr(memory, "_LIBRARY", library)
        assert trim() is None


class TestTheHeapInUse:
    def test_grows_with_small_objects_and_large_ones_and_shrinks_again(self):
        before = memory.live()
        small = [object() for _ in range(200_000)]
        after_small = memory.live()
        large = bytes(50_000_000)
        after_large = memory.live()
        assert before + 200_000 * 16 < after_small
        assert after_small + 49_000_000 < after_large
        del small, large
        assert memory.live() < before + 1_000_000

    def test_is_told_where_the_c_library_says_nothing(self, monkeypatch):
        monkeypatch.setattr(memory, "_LIBRARY", object())
        assert memory.live() > 0
