"""What is collected in chat: thumbs, corrections, picks, rankings, votes, and the pairs that follow."""

from pathlib import Path

import pytest

from app.preference_rows import Answer, Counts, Origin, Review, Source, Tally
from app.preferences import Preferences
from core.errors import BusyError, DataError

QUESTION = [{"role": "user", "content": "法国的首都是哪里？"}]
OTHER = [*QUESTION, {"role": "assistant", "content": "巴黎。"}, {"role": "user", "content": "And of Italy?"}]
STARTER = Origin("starter", "ab12", "int8", "run-1", {"temperature": 0.5})
GOOD, BAD, WORST = Answer("巴黎。", STARTER), Answer("里昂。", STARTER), Answer("Berlin.", STARTER)


@pytest.fixture
def preferences(tmp_path: Path) -> Preferences:
    return Preferences(tmp_path)


def texts(preferences: Preferences) -> set[tuple[str, str]]:
    return {(pair.chosen.text, pair.rejected.text) for pair in preferences.pairs()}


def test_a_thumb_alone_makes_no_pair_and_is_counted_as_alone(preferences: Preferences) -> None:
    preferences.rate(QUESTION, BAD, -1)
    preferences.rate(OTHER, GOOD, 1)
    counts = preferences.counts()
    assert preferences.pairs() == []
    assert (counts.num_up, counts.num_up_alone, counts.num_down, counts.num_down_alone) == (1, 1, 1, 1)


def test_thumbs_up_and_down_on_answers_to_one_question_make_their_pairs(preferences: Preferences) -> None:
    preferences.rate(QUESTION, BAD, -1)
    preferences.rate(QUESTION, WORST, -1)
    preferences.rate(QUESTION, GOOD, 1)
    assert texts(preferences) == {("巴黎。", "里昂。"), ("巴黎。", "Berlin.")}
    counts = preferences.counts()
    assert (counts.num_up_alone, counts.num_down_alone) == (0, 0)
    assert counts.by_source[Source.RATING] == counts.by_review[Review.NEW] == 2


def test_a_thumb_taken_back_takes_its_pairs_with_it_but_not_a_reviewed_one(preferences: Preferences) -> None:
    preferences.rate(QUESTION, GOOD, 1)
    preferences.rate(QUESTION, BAD, -1)
    preferences.rate(QUESTION, WORST, -1)
    kept = next(pair.id for pair in preferences.pairs() if pair.rejected.text == WORST.text)
    preferences.review([kept], Review.KEPT)
    preferences.rate(QUESTION, GOOD, 0)
    assert texts(preferences) == {("巴黎。", "Berlin.")}
    assert preferences.ratings([(QUESTION, GOOD.text), (QUESTION, BAD.text), (OTHER, BAD.text)]) == [0, -1, 0]


def test_a_correction_is_better_than_the_original_and_nobody_said_it(preferences: Preferences) -> None:
    assert preferences.correct(QUESTION, BAD, "巴黎，在塞纳河畔。") == 1
    (pair,) = preferences.pairs()
    assert (pair.chosen.text, pair.rejected.text, pair.source) == ("巴黎，在塞纳河畔。", "里昂。", Source.EDIT)
    assert pair.chosen.origin == Origin()
    assert pair.rejected.origin == STARTER
    assert pair.messages == QUESTION


def test_a_pick_beats_the_other_versions_and_an_unchanged_correction_is_nothing(preferences: Preferences) -> None:
    assert preferences.pick(QUESTION, GOOD, [BAD, GOOD, WORST]) == 2
    assert preferences.pick(QUESTION, GOOD, [BAD]) == 0
    assert preferences.correct(QUESTION, BAD, BAD.text) == 0
    assert preferences.counts().num_pairs == 2


def test_a_change_of_mind_replaces_the_opposite_pair(preferences: Preferences) -> None:
    preferences.pick(QUESTION, GOOD, [BAD])
    preferences.pick(QUESTION, BAD, [GOOD])
    assert texts(preferences) == {("里昂。", "巴黎。")}


def test_a_ranking_is_all_its_pairs(preferences: Preferences) -> None:
    assert preferences.rank(QUESTION, [GOOD, BAD, WORST]) == 3
    assert texts(preferences) == {("巴黎。", "里昂。"), ("巴黎。", "Berlin."), ("里昂。", "Berlin.")}
    six = [Answer(str(number)) for number in range(6)]
    assert preferences.rank(OTHER, six) == 15
    for answers, problem in (([GOOD], "1 answers"), ([*six, GOOD], "7 answers"), ([GOOD, GOOD], "equal")):
        with pytest.raises(DataError, match=problem):
            preferences.rank(QUESTION, answers)


def test_a_review_keeps_rejects_rewords_and_deletes(preferences: Preferences) -> None:
    preferences.rank(QUESTION, [GOOD, BAD, WORST])
    first, second, third = sorted(pair.id for pair in preferences.pairs())
    preferences.review([first], Review.KEPT)
    preferences.review([second], Review.REJECTED)
    preferences.edit(third, chosen="里昂吧。", rejected=WORST.text)
    counts = preferences.counts()
    assert (counts.num_accepted, counts.num_prompts_accepted) == (2, 1)
    assert [pair.review for pair in preferences.pairs([Review.EDITED])] == [Review.EDITED]
    assert preferences.pairs([Review.EDITED])[0].rejected.origin == STARTER
    preferences.delete(pair.id for pair in preferences.pairs())
    assert preferences.counts().num_pairs == 0
    assert [pair.id for pair in preferences.pairs(sources=[Source.EDIT], limit=3)] == []
    with pytest.raises(DataError, match="no pair"):
        preferences.edit(first, chosen="a", rejected="b")


def test_pairs_come_newest_first_in_pages(preferences: Preferences) -> None:
    preferences.rank(QUESTION, [Answer(str(number)) for number in range(4)])
    newest = [pair.id for pair in preferences.pairs()]
    assert newest == sorted(newest, reverse=True)
    assert [pair.id for pair in preferences.pairs(limit=2, offset=3)] == newest[3:5]


def test_what_is_no_question_or_no_answer_is_refused(preferences: Preferences) -> None:
    with pytest.raises(DataError, match="ends with a question"):
        preferences.rate([*QUESTION, {"role": "assistant", "content": "x"}], GOOD, 1)
    with pytest.raises(DataError, match="empty answer"):
        preferences.correct(QUESTION, BAD, "  ")
    preferences.pick(QUESTION, GOOD, [BAD])
    with pytest.raises(DataError, match="two different answers"):
        preferences.edit(preferences.pairs()[0].id, chosen="a", rejected="a")


def test_votes_are_tallied_and_become_pairs(preferences: Preferences) -> None:
    versions = ("base", "", "run-2")
    for vote in ("new", "tie", "old"):
        preferences.vote(
            versions,
            [{"role": "user", "content": vote}],
            old=BAD,
            new=Answer("巴黎。", Origin("starter", version="run-2")),
            vote=vote,
            new_was_first=True,
        )
    assert preferences.tally(versions) == Tally(1, 1, 1)
    assert preferences.tally(("base", "", "run-3")) == Tally()
    assert {(pair.question, pair.chosen.text) for pair in preferences.pairs()} == {("new", "巴黎。"), ("old", "里昂。")}
    assert preferences.counts().by_source[Source.AB] == 2


@pytest.mark.parametrize(
    ("tally", "winner"), [(Tally(15, 4, 0), None), (Tally(16, 4), "new"), (Tally(4, 16), "old"), (Tally(12, 8), None)]
)
def test_a_winner_needs_votes_and_an_interval_that_leaves_out_a_half(tally: Tally, winner: str | None) -> None:
    assert tally.winner == winner


def test_the_interval_is_wilsons() -> None:
    low, high = Tally(16, 4).interval  # by hand: (0.8 + 0.0960) / 1.19207 ± 0.1642…
    assert (round(low, 4), round(high, 4)) == (0.584, 0.9193)
    assert Tally(1, 1, 2).share == 0.5


def test_two_programs_do_not_write_and_both_read(preferences: Preferences, tmp_path: Path) -> None:
    preferences.rate(QUESTION, GOOD, 1)
    second = Preferences(tmp_path)
    assert second.counts().num_up == 1
    with pytest.raises(BusyError, match="Another program is writing to the store of preferences"):
        second.rate(QUESTION, BAD, -1)
    preferences.close()
    second.rate(QUESTION, BAD, -1)
    assert isinstance(second.counts(), Counts)
    second.close()
