"""A disk that takes long is named in the log; one that never answers stops the node; a pause is neither."""

from pathlib import Path

import pytest
import structlog

from cluster.storage import DiskHungError, Operation
from node.disk_watch import BYTES_PER_SECOND, STOP, DiskWatch
from node.driver import AwakeClock
from tests.node.stillness import StillLoop

TIMEOUT = 2.0


class Scene:
    """A disk that does what the test says, and the watch over it."""

    def __init__(self) -> None:
        self.loop = StillLoop()
        self.operation: Operation | None = None
        self.failures: list[Exception] = []
        self._numbers = 0
        self.alone = False
        clock = AwakeClock(self.loop.time)
        self.watch = DiskWatch(
            self,
            Path("/data"),
            TIMEOUT,
            loop=self.loop,
            clock=clock,
            alone=lambda: self.alone,
            failed=self.failures.append,
        )
        self.watch.start()

    def begin(self, size: int = 0) -> None:
        self._numbers += 1
        self.operation = Operation(self._numbers, size)

    def end(self) -> None:
        self.operation = None

    def wait(self, seconds: float) -> list[str]:
        """Let time pass, and give the events that were logged."""
        with structlog.testing.capture_logs() as logs:
            self.loop.advance(seconds)
        return [line["event"] for line in logs]


@pytest.fixture
def scene():
    return Scene()


class TestADisk:
    def test_that_answers_is_not_worth_a_word(self, scene):
        for _ in range(100):
            scene.begin()
            assert scene.wait(TIMEOUT * 0.9) == []
        assert scene.failures == []

    def test_that_has_nothing_to_do_is_not_either(self, scene):
        assert scene.wait(1000) == []
        assert scene.failures == []

    def test_that_takes_long_is_named_once_and_so_is_its_return(self, scene):
        scene.begin()
        assert scene.wait(TIMEOUT + 0.3) == ["disk_slow"]
        assert scene.wait(TIMEOUT) == []
        scene.end()
        assert scene.wait(0.2) == ["disk_answers_again"]
        assert scene.wait(100) == []

    def test_that_never_answers_stops_the_node_with_an_error_that_says_what_to_do(self, scene):
        scene.begin()
        scene.wait(TIMEOUT * STOP - 0.5)
        assert scene.failures == []
        scene.wait(1)
        (failure,) = scene.failures
        assert isinstance(failure, DiskHungError)
        assert "/data" in str(failure)
        assert "--disk-timeout" in str(failure)
        scene.wait(100)
        assert len(scene.failures) == 1

    def test_of_a_node_alone_is_waited_for_however_long_it_takes(self, scene):
        scene.alone = True
        scene.begin()
        assert scene.wait(3600) == ["disk_slow"]
        assert scene.failures == []

    def test_has_time_for_what_it_is_given(self, scene):
        scene.begin(60 * BYTES_PER_SECOND)
        assert scene.wait(60) == []
        assert scene.wait(TIMEOUT + 0.3) == ["disk_slow"]
        scene.wait(TIMEOUT * STOP)
        assert len(scene.failures) == 1

    @pytest.mark.parametrize("seconds", [1.5, 60.0, 3600.0])
    def test_is_not_blamed_for_a_pause_of_the_process(self, scene, seconds):
        scene.begin()
        scene.wait(0.5)
        scene.loop.pause(seconds)
        assert scene.wait(0.5) == []
        assert scene.failures == []

    def test_is_watched_no_more_when_the_node_stops(self, scene):
        scene.begin()
        scene.wait(1)
        scene.watch.stop()
        assert scene.wait(100) == []
        assert scene.failures == []
