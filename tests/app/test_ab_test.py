"""Two versions side by side, nobody saying whose an answer is."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.ab_test import LEFT, RIGHT, TIE, BlindTest
from app.models import ModelHolder
from app.preference_rows import Tally
from app.preferences import Preferences
from app.side_by_side import candidates, side_by_side
from app.studio import Studio
from app.versions import Version, Versions
from core.errors import DataError, ModelError
from studio import improve
from studio.job_folder import JobSpec
from studio.job_store import JobStore

MODEL = Path("/models/small")
QUESTION = [{"role": "user", "content": "Hi"}]


class FakeStream:
    def __init__(self, words: str) -> None:
        self.words, self.text, self.cancelled = words.split(), "", False

    def __iter__(self) -> Iterator[str]:
        for word in self.words:
            self.text += f"{word} "
            yield word

    def cancel(self) -> None:
        self.cancelled = True


class FakeModel:
    """Says which adapter it was asked with, in three words."""

    name, fingerprint, quantization = "small", "ab", "int8"

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.streams: list[FakeStream] = []

    def fitting(self, messages: Any) -> Any:
        return messages

    def chat(self, messages: Any, **options: Any) -> FakeStream:
        self.asked.append(options)
        self.streams.append(FakeStream(f"I am {options['adapter'] or 'base'} {options['seed']}"))
        return self.streams[-1]


class Contest:
    """A blind test of one model, whose finished runs and whose coin the test sets."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model, self.runs, self.new_is_left = FakeModel(), list[str](), True
        self.versions, self.preferences = Versions(folder), Preferences(folder)
        models = SimpleNamespace(
            choice=SimpleNamespace(path=MODEL), versions=self.versions, model=lambda: self.model, ready=lambda one: one
        )
        jobs = lambda store, path: [SimpleNamespace(id=run, folder=Path("/runs") / run) for run in self.runs]  # noqa: E731
        monkeypatch.setattr(improve, "versions", jobs)
        self.test = BlindTest(
            cast(ModelHolder, models),
            self.preferences,
            cast(Studio, SimpleNamespace(store=JobStore(folder / "studio"))),
            coin=lambda: self.new_is_left,
        )


@pytest.fixture
def contest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Contest:
    return Contest(tmp_path, monkeypatch)


def test_there_is_nothing_to_compare_before_a_run_made_a_version(contest: Contest) -> None:
    assert contest.test.contest() is None
    with pytest.raises(ModelError, match="no second version"):
        next(contest.test.ask(QUESTION, {}))


@pytest.mark.parametrize("new_is_left", [True, False])
def test_both_answer_with_one_seed_and_the_vote_goes_to_the_version_behind_the_side(
    contest: Contest, *, new_is_left: bool
) -> None:
    contest.runs, contest.new_is_left = ["run-1"], new_is_left
    *_, trial = contest.test.ask(QUESTION, {"temperature": 0.5})
    assert trial.is_whole
    assert {options["seed"] for options in contest.model.asked} == {contest.model.asked[0]["seed"]}
    assert ("run-1" in trial.texts[0]) == new_is_left
    contest.test.vote(trial, LEFT)
    contest.test.vote(trial, TIE)
    assert contest.test.vote(trial, RIGHT) == Tally(1, 1, 1)
    assert contest.preferences.counts().num_pairs == 1  # the last of two opposite votes


def test_once_adopted_the_contest_is_with_the_version_before_and_goes_on_after_the_roll_back(contest: Contest) -> None:
    contest.runs = ["run-1"]
    first = contest.test.contest()
    assert first is not None
    contest.test.adopt(first)
    assert contest.test.contest() == first
    assert contest.test.answers_now(first)
    contest.runs = ["run-2", "run-1"]
    second = contest.test.contest()
    assert second is not None
    assert (second.old.name, second.new.name) == ("run-1", "run-2")
    contest.test.adopt(second)
    assert contest.test.roll_back(second).name == "run-1"
    assert contest.test.roll_back(second) == Version()
    assert not contest.test.can_roll_back(second)


def test_a_version_is_called_what_its_run_is_called_and_by_its_id_once_that_is_gone(
    contest: Contest, tmp_path: Path
) -> None:
    store = JobStore(tmp_path / "studio")
    folder = store.add("20260101-000000-dpo", JobSpec("train", "small · DPO", 0.0), lambda _: None).root
    version = Version(folder.name, str(folder))
    assert contest.test.title(version, "en") == f"small · DPO · {time.strftime('%m-%d %H:%M', time.localtime(0))}"
    store.trash(folder.name)
    assert contest.test.title(version, "en") == folder.name
    assert contest.test.title(Version(), "en") == "the model itself"


def test_leaving_early_stops_both(contest: Contest) -> None:
    contest.runs = ["run-1"]
    trials = contest.test.ask(QUESTION, {})
    assert not next(trials).is_whole
    trials.close()  # type: ignore[attr-defined]
    assert all(stream.cancelled for stream in contest.model.streams)


def test_texts_of_unequal_length_are_all_whole_at_the_end() -> None:
    streams: list[Any] = [FakeStream("a"), FakeStream("a b c d"), FakeStream("")]
    assert list(side_by_side(streams))[-1] == ["a ", "a b c d ", ""]


def test_candidates_have_seeds_of_their_own_and_say_so() -> None:
    model = FakeModel()
    *_, answers = candidates(
        cast(Any, model), QUESTION, count=3, sampling={"temperature": 1.0}, version="run-1", seed=7
    )
    assert [answer.origin.sampling["seed"] for answer in answers] == [7, 8, 9]
    assert {answer.origin.version for answer in answers} == {"run-1"}
    with pytest.raises(DataError, match="7 answers"):
        next(candidates(cast(Any, model), QUESTION, count=7, sampling={}))
