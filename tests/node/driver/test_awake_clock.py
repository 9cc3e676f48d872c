"""A clock that leaves pauses of the process out."""

import pytest

from node.driver.awake_clock import PAUSE, AwakeClock


class Scene:
    """A clock, and the loop's, which the test moves."""

    def __init__(self) -> None:
        self.now = 50.0
        self.clock = AwakeClock(lambda: self.now)
        self.began = self.clock.time()

    def run(self, seconds: float, every: float = 0.1) -> None:
        """Let the process run: the clock is read again and again."""
        for _ in range(round(seconds / every)):
            self.now += every
            self.clock.time()

    @property
    def passed(self) -> float:
        return self.clock.time() - self.began


@pytest.fixture
def scene():
    return Scene()


class TestTheClock:
    def test_goes_on_while_the_process_runs(self, scene):
        scene.run(30)
        assert scene.passed == pytest.approx(30)
        assert scene.clock.paused == 0.0

    def test_goes_on_while_the_process_is_slow(self, scene):
        scene.run(9, every=PAUSE * 0.9)
        assert scene.passed == pytest.approx(9)

    @pytest.mark.parametrize("seconds", [1.1, 10.0, 3600.0])
    def test_stands_still_while_the_process_does(self, scene, seconds):
        scene.run(2)
        scene.now += seconds
        assert scene.passed == pytest.approx(2)
        scene.run(1)
        assert scene.passed == pytest.approx(3)

    def test_leaves_every_pause_out(self, scene):
        for _ in range(3):
            scene.run(1)
            scene.now += 7
            scene.clock.time()
        assert scene.passed == pytest.approx(3)
        assert scene.clock.paused == pytest.approx(21)

    def test_never_goes_back(self, scene):
        before = scene.clock.time()
        for step in (0.0, 0.5, 1.5, 0.2, 40.0, 0.0):
            scene.now += step
            assert scene.clock.time() >= before
            before = scene.clock.time()
