"""Drafts from the text so far, and how long they are."""

from core.inference.speculation import MAX_DRAFT_TOKENS, SHORT_DRAFT_TOKENS, DraftLength, PromptLookup


def test_what_followed_the_same_three_tokens_is_the_draft() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 6, 9, 2, 3, 7, 1, 2, 3])
    assert lookup.draft(4) == [4, 5, 6, 9]


def test_two_tokens_do_where_three_are_new_and_the_last_place_counts() -> None:
    lookup = PromptLookup([2, 3, 4, 4, 2, 3, 7, 8, 9, 2, 3])
    assert lookup.draft(2) == [7, 8]


def test_new_words_have_no_draft() -> None:
    assert PromptLookup([1, 2, 3, 4, 5]).draft(5) == []
    assert PromptLookup([1]).draft(5) == []
    assert PromptLookup([]).draft(5) == []


def test_a_text_that_repeats_itself_is_drafted_beyond_its_end() -> None:
    lookup = PromptLookup([1, 2, 3, 1, 2, 3])
    assert lookup.draft(8) == [1, 2, 3, 1, 2, 3, 1, 2]
    assert PromptLookup([5, 5, 5, 5]).draft(3) == [5, 5, 5]


def test_added_tokens_count_like_those_of_the_prompt() -> None:
    lookup = PromptLookup([7, 1, 2])
    for token in (3, 4, 7, 1, 2):
        lookup.add(token)
    assert lookup.draft(2) == [3, 4]


def test_drafts_are_long_after_one_that_was_right_and_short_after_one_that_was_not() -> None:
    length = DraftLength()
    assert length.wanted(1) == SHORT_DRAFT_TOKENS
    length.judge(SHORT_DRAFT_TOKENS, SHORT_DRAFT_TOKENS)
    assert length.wanted(1) == MAX_DRAFT_TOKENS
    length.judge(MAX_DRAFT_TOKENS, 6)
    assert length.wanted(1) == SHORT_DRAFT_TOKENS


def test_many_sequences_have_short_drafts_or_none() -> None:
    length = DraftLength()
    length.judge(4, 4)
    assert [length.wanted(count) for count in (1, 4, 8, 25)] == [7, 6, 3, 0]


def test_wrong_drafts_pause_longer_each_time() -> None:
    length = DraftLength()
    pauses: list[int] = []
    for _ in range(3):
        while wanted := length.wanted(1):
            length.judge(wanted, 0)
        pauses.append(1)
        while not length.wanted(1):
            pauses[-1] += 1
    assert pauses == [16, 32, 64]
