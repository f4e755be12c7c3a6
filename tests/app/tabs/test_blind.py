"""The blind comparison, as the panel's handlers take it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest

from app.ab_test import LEFT, Contest, Trial
from app.preference_rows import Answer, Tally
from app.services import Services
from app.tabs.blind import BlindPanel
from app.versions import Version
from core.errors import ModelError

CONTEST = Contest(Path("/models/small"), Version(), Version("run-1", "/runs/run-1"))


class FakeTest:
    """One contest, whose new version answers on the left."""

    def __init__(self) -> None:
        self.found: Contest | None = CONTEST
        self.votes: list[str] = []
        self.is_adopted = False
        self.said = "old"

    def contest(self) -> Contest | None:
        return self.found

    def ask(self, messages: Any, sampling: Any) -> Iterator[Trial]:
        if self.found is None:
            raise ModelError("There is no second version.", "Make one.")
        self.sampling = sampling
        for text, is_whole in (("ne", False), ("new", True)):
            yield Trial(CONTEST, messages, Answer(text), Answer(self.said), new_is_left=True, is_whole=is_whole)

    def vote(self, trial: Trial, side: str) -> Tally:
        self.votes.append(side)
        return Tally()

    def tally(self, contest: Contest) -> Tally:
        return Tally(len(self.votes))

    def title(self, version: Version, language: str) -> str:
        return f"<i>{version.name}</i>"

    def answers_now(self, contest: Contest) -> bool:
        return self.is_adopted

    def can_roll_back(self, contest: Contest) -> bool:
        return self.is_adopted

    def adopt(self, contest: Contest) -> None:
        self.is_adopted = True

    def roll_back(self, contest: Contest) -> Version:
        self.is_adopted = False
        return Version()


@pytest.fixture
def test_() -> FakeTest:
    return FakeTest()


@pytest.fixture
def panel(test_: FakeTest) -> BlindPanel:
    async def build() -> BlindPanel:  # without a running loop Blocks would make some, and leave them open
        with gr.Blocks(analytics_enabled=False):
            return BlindPanel(cast(Services, SimpleNamespace(blind_test=test_)))

    return asyncio.run(build())


def test_a_vote_can_be_cast_when_both_answers_are_whole_and_only_once(panel: BlindPanel, test_: FakeTest) -> None:
    *shown, last = panel.compare("Who?", "en", 0.5, 0.9, 64.0)
    assert shown[-1][panel.left] == "new"
    assert test_.sampling == {"temperature": 0.5, "top_p": 0.9, "max_new_tokens": 64}
    assert last[panel.votes[LEFT]]["interactive"]
    voted = panel.vote(LEFT, last[panel.trial], "en")
    assert (voted[panel.trial], test_.votes) == (None, [LEFT])
    assert "19" in voted[panel.tally]  # votes that are missing
    panel.vote(LEFT, None, "en")
    assert test_.votes == [LEFT]


def test_where_one_answers_nothing_that_is_told_and_there_is_no_vote(
    panel: BlindPanel, test_: FakeTest, capsys: pytest.CaptureFixture[str]
) -> None:
    test_.said = " \n"
    *_, last = panel.compare("Who?", "en", 0.5, 0.9, 64.0)
    assert "nothing to compare" in capsys.readouterr().out  # what the page shows as a toast
    assert (last[panel.trial], last[panel.votes[LEFT]]["interactive"]) == (None, False)


def test_the_panel_is_away_without_two_versions_and_an_empty_question_asks_nobody(
    panel: BlindPanel, test_: FakeTest
) -> None:
    test_.found = None
    assert panel.show("zh") == {panel.panel: {"visible": False, "__type__": "update"}}
    assert len(list(panel.compare("  ", "zh", 1, 1, 16))) == 1
    with pytest.warns(UserWarning, match="no second version"):  # what the page shows as a toast
        *_, last = panel.compare("Who?", "zh", 1, 1, 16)
    assert last[panel.trial] is None
    assert panel.use_new("zh").keys() == panel.roll_back("zh").keys() == {panel.panel}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_new_version_takes_over_and_goes_back(panel: BlindPanel, language: str) -> None:
    assert panel.show(language)[panel.adopt]["visible"]
    used = panel.use_new(language)
    assert (used[panel.adopt]["visible"], used[panel.back]["visible"]) == (False, True)
    assert not panel.roll_back(language)[panel.back]["visible"]
    assert "&lt;i&gt;run-1" in used[panel.intro]
