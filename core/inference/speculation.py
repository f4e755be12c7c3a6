"""Drafts of the next tokens, looked up in the text so far: an answer that quotes its documents writes them again.

The last three tokens, else the last two, are looked for earlier in prompt and answer; what followed there is the
draft. The model checks a whole draft in one step and the sampler draws each token from the model's own
distribution, so drafts change the speed of a text and never the text. Source: Saxena 2023 (prompt lookup).
"""

from collections.abc import Sequence

# Behind the last token they fill up four rows, or eight: the CPU's kernels compute rows by fours.
SHORT_DRAFT_TOKENS, MAX_DRAFT_TOKENS = 3, 7
NGRAM_SIZES = (3, 2)
# Rows that the drafts of one step may make altogether: few sequences get long drafts, many get short ones.
STEP_DRAFT_TOKENS = 24
# Below this share of accepted tokens a draft costs more than it saves; that is decided on so many at a time.
MIN_ACCEPTED_SHARE = 0.25
JUDGED_TOKENS = 16
FIRST_PAUSE_TOKENS = 16


class PromptLookup:
    """The text of one request, with the last place of each of its n-grams."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids: list[int] = []
        self._followers: dict[tuple[int, ...], int] = {}
        for token in ids:
            self.add(token)

    def add(self, token: int) -> None:
        """The text goes on with this token."""
        ids = self._ids
        for size in NGRAM_SIZES:
            if len(ids) >= size:
                self._followers[tuple(ids[-size:])] = len(ids)
        ids.append(token)

    def draft(self, num_tokens: int) -> list[int]:
        """At most so many tokens that may come next; none if the end of the text was not seen before."""
        ids = self._ids
        for size in NGRAM_SIZES:
            place = self._followers.get(tuple(ids[-size:])) if len(ids) >= size else None
            if place is not None:
                period = len(ids) - place  # a text that repeats itself is drafted beyond its end
                return [ids[place + index % period] for index in range(num_tokens)]
        return []


class DraftLength:
    """How long a request's drafts are: longer while they are accepted, none for a while when they are not."""

    def __init__(self) -> None:
        self._length = SHORT_DRAFT_TOKENS
        self._drafted = self._accepted = 0
        self._pause, self._next_pause = 0, FIRST_PAUSE_TOKENS

    def wanted(self, num_sequences: int) -> int:
        """Tokens to draft now, with so many sequences in the step."""
        if self._pause:
            self._pause -= 1
            return 0
        return min(self._length, STEP_DRAFT_TOKENS // num_sequences)

    def judge(self, num_drafted: int, num_accepted: int) -> None:
        """Learn from one draft."""
        self._length = MAX_DRAFT_TOKENS if num_accepted == num_drafted else SHORT_DRAFT_TOKENS
        self._drafted += num_drafted
        self._accepted += num_accepted
        if self._drafted < JUDGED_TOKENS:
            return
        if self._accepted < MIN_ACCEPTED_SHARE * self._drafted:
            self._pause, self._next_pause = self._next_pause, 2 * self._next_pause
        self._drafted = self._accepted = 0
