"""A blind comparison of two versions of the loaded model: the same question, two answers, nobody says whose.

The contest is between the version that answers and the newest one that a run has made; once that has taken over,
between it and the one before. Both answer at once beside one copy of the weights, with the same seed.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.format import short_time
from app.i18n import t
from app.models import ModelHolder
from app.preference_rows import Answer, Tally
from app.preferences import Preferences
from app.side_by_side import MAX_SEED, origin, side_by_side
from app.studio import Studio
from app.versions import Version
from core.errors import ModelError, TrainingError

LEFT, RIGHT, TIE = "left", "right", "tie"


@dataclass(frozen=True, slots=True)
class Contest:
    """Which versions of which model are compared."""

    model: Path
    old: Version
    new: Version

    @property
    def key(self) -> tuple[str, str, str]:
        return str(self.model), self.old.name, self.new.name


@dataclass(frozen=True, slots=True)
class Trial:
    """One question with both answers. What the page shows of it is the texts alone."""

    contest: Contest
    messages: Sequence[Mapping[str, Any]]
    left: Answer
    right: Answer
    new_is_left: bool
    is_whole: bool = False

    @property
    def texts(self) -> tuple[str, str]:
        return self.left.text, self.right.text

    @property
    def has_empty_answer(self) -> bool:
        """Whether one of the answers is empty, of which no pair can be made: such a trial is not voted on."""
        return not all(text.strip() for text in self.texts)


class BlindTest:
    """Contests of the model that is loaded."""

    def __init__(
        self,
        models: ModelHolder,
        preferences: Preferences,
        studio: Studio,
        *,
        coin: Callable[[], bool] = lambda: secrets.randbelow(2) == 1,
    ) -> None:
        self._models, self._preferences, self._studio, self._coin = models, preferences, studio, coin

    def contest(self) -> Contest | None:
        """What there is to compare; None before a first version was made."""
        from studio.improve import versions

        choice = self._models.choice
        if choice is None:
            return None
        pointer = self._models.versions
        current, before = pointer.current(choice.path), pointer.before(choice.path)
        jobs = versions(self._studio.store, choice.path)
        if jobs and jobs[0].id != current.name:
            return Contest(choice.path, current, Version(jobs[0].id, str(jobs[0].folder)))
        return Contest(choice.path, before, current) if before is not None else None

    def ask(self, messages: Sequence[Mapping[str, Any]], sampling: Mapping[str, Any]) -> Iterator[Trial]:
        """Both answers as they grow, in an order that is drawn anew for each question; the last one is whole.

        Raises: ModelError without a contest, and what a chat raises.
        """
        contest = self.contest()
        if contest is None:
            raise ModelError("There is no second version to compare.", "Improve the model from your pairs first.")
        model, new_is_left = self._models.model(), self._coin()
        sampling = {**sampling, "seed": secrets.randbelow(MAX_SEED)}
        order = (contest.new, contest.old) if new_is_left else (contest.old, contest.new)
        names = [self._models.ready(version).name for version in order]
        origins = [origin(model, sampling, name) for name in names]
        kept = model.fitting(messages)
        streams = [model.chat(kept, adapter=name or None, **sampling) for name in names]
        trial = None
        for left, right in side_by_side(streams):
            answers = Answer(left, origins[0]), Answer(right, origins[1])
            trial = Trial(contest, messages, *answers, new_is_left)
            yield trial
        if trial is not None:
            yield Trial(contest, messages, trial.left, trial.right, new_is_left, is_whole=True)

    def vote(self, trial: Trial, side: str) -> Tally:
        """Count a vote for LEFT, RIGHT or TIE, and the pair that it makes; the tally with it."""
        assert side in (LEFT, RIGHT, TIE), side
        new, old = (trial.left, trial.right) if trial.new_is_left else (trial.right, trial.left)
        vote = TIE if side == TIE else "new" if (side == LEFT) == trial.new_is_left else "old"
        self._preferences.vote(
            trial.contest.key, trial.messages, old=old, new=new, vote=vote, new_was_first=trial.new_is_left
        )
        return self.tally(trial.contest)

    def tally(self, contest: Contest) -> Tally:
        return self._preferences.tally(contest.key)

    def title(self, version: Version, language: str) -> str:
        """What people call a version: the name of its run and when that was made, or the model itself."""
        if not version.name:
            return t("version_base", language)
        try:
            job = self._studio.store.job(version.name)
        except TrainingError:  # a run that was deleted since
            return version.name
        return f"{job.name} · {short_time(job.spec.created)}"

    def answers_now(self, contest: Contest) -> bool:
        """Whether the new version has taken over."""
        return self._models.versions.current(contest.model) == contest.new

    def can_roll_back(self, contest: Contest) -> bool:
        return self._models.versions.before(contest.model) is not None

    def adopt(self, contest: Contest) -> None:
        """Let the new version answer from now on. Raises ModelError when it cannot be read."""
        self._models.ready(contest.new)
        self._models.versions.use(contest.model, contest.new)

    def roll_back(self, contest: Contest) -> Version:
        """Let the version before answer again. Raises ModelError when there is none."""
        return self._models.versions.roll_back(contest.model)
