"""The stories in `scenarios/`, each a file to be read from top to bottom. The language is described in `story`."""

from pathlib import Path

import pytest

from tests.cluster.raft.story import Story, StoryError

STORIES = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


class TestScenarios:
    @pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
    def test_the_story_comes_true(self, path):
        Story(path).play()


class TestTheLanguage:
    def tell(self, tmp_path, text):
        path = tmp_path / "story.txt"
        path.write_text(text)
        Story(path).play()

    def test_a_story_that_does_not_come_true_names_its_line_and_shows_the_group(self, tmp_path):
        with pytest.raises(StoryError, match=r"(?s)story.txt:2: expect leader 1.*1: follower term 1"):
            self.tell(tmp_path, "nodes 1 2 3\nexpect leader 1\n")

    def test_a_refusal_must_not_go_unnoticed(self, tmp_path):
        with pytest.raises(StoryError, match="the event before was refused"):
            self.tell(tmp_path, "nodes 1 2 3\npropose 1 x\nexpect leader none\ndeliver\n")

    def test_an_unknown_word_is_an_error(self, tmp_path):
        with pytest.raises(StoryError, match="do_dance"):
            self.tell(tmp_path, "nodes 1\ndance 1\n")

    def test_a_story_without_expectations_is_an_error(self, tmp_path):
        with pytest.raises(AssertionError, match="expects nothing"):
            self.tell(tmp_path, "nodes 1\n")
