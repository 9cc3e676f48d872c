"""How many bytes lie after a position: never less than there are, and not much more."""

import random

import pytest

from cluster.raft.extent import Extent


@pytest.mark.parametrize("seed", range(30))
def test_agrees_with_a_list_to_within_the_grain_and_the_last_append(seed):
    draw = random.Random(seed)
    grain = draw.choice((1, 50, 400))
    extent, base, sizes = Extent(10, grain), 10, []
    largest = 0
    for _ in range(200):
        if draw.random() < 0.7 or not sizes:
            more = [draw.randrange(1, 100) for _ in range(draw.randrange(1, 4))]
            sizes += more
            largest = max(largest, sum(more))
            extent.append(base + len(sizes), sum(more))
        else:
            drop = draw.randrange(len(sizes) + 1)
            base += drop
            del sizes[:drop]
            extent.compact(base)
        for index in range(base, base + len(sizes)):
            exact = sum(sizes[index - base :])
            assert exact <= extent.after(index) <= exact + grain + largest
        most = draw.randrange(2000)
        start = extent.start_of_last(most)
        assert start >= base
        assert extent.after(start) <= max(most, grain + largest)


def test_forgets_what_was_truncated():
    extent = Extent(0, 1, [(1, 10), (2, 20), (3, 30)])
    extent.truncate(2)
    assert (extent.total, extent.after(0), extent.after(1)) == (10, 10, 0)
    extent.append(2, 5)
    assert (extent.after(0), extent.after(1)) == (15, 5)


def test_the_start_of_so_many_last_bytes_is_where_they_begin():
    extent = Extent(0, 1, [(1, 10), (2, 20), (3, 30)])
    assert [extent.start_of_last(size) for size in (0, 29, 30, 49, 50, 60, 100)] == [3, 3, 2, 2, 1, 0, 0]
