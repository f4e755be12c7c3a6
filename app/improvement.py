"""From accepted pairs to a run: what the page's buttons "Improve", "Train reward model" and "RLHF" do."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.models import ModelHolder
from app.preference_rows import ACCEPTED
from app.preferences import Preferences
from app.studio import Studio
from core.errors import ModelError

if TYPE_CHECKING:
    from studio import Job
    from studio.improve import Readiness, Subject


class Improvement:
    """Starts runs on the pairs that the user has accepted, for the model that chat has loaded."""

    def __init__(self, models: ModelHolder, preferences: Preferences, studio: Studio) -> None:
        self._models, self._preferences, self._studio = models, preferences, studio

    def readiness(self, stage: str) -> "Readiness":
        """How many pairs there are and how many are wanted for `dpo`, `rm` or `grpo`."""
        from studio.improve import readiness

        return readiness(stage, self._preferences.counts().num_accepted)

    def improve(self, *, queued: bool = False) -> "Job":
        """DPO of an adapter. Raises: DataError without a pair, ModelError without a model, as `studio.start`."""
        from studio.improve import improve

        replay = [
            {"messages": [*messages, {"role": "assistant", "content": text}]}
            for messages, text in self._preferences.liked()
        ]
        return improve(
            self._studio.store, self._subject(), self._rows(), replay=replay, name=self._name("DPO"), queued=queued
        )

    def train_reward_model(self, *, queued: bool = False) -> "Job":
        """Raises as `improve`."""
        from studio.improve import train_reward_model

        return train_reward_model(
            self._studio.store, self._subject(), self._rows(), name=self._name("RM"), queued=queued
        )

    def reward_models(self) -> "list[Job]":
        """Reward models that were trained from this model's pairs, newest first."""
        from studio.improve import reward_models

        return reward_models(self._studio.store, self._subject().path)

    def reinforce(self, reward_model: Path, *, queued: bool = False) -> "Job":
        """RLHF with a reward model's run. Raises as `improve`."""
        from studio.improve import reinforce

        return reinforce(
            self._studio.store,
            self._subject(),
            self._rows(),
            reward_model=reward_model,
            name=self._name("RLHF"),
            queued=queued,
        )

    def _subject(self) -> "Subject":
        if self._models.choice is None:
            raise ModelError("No model is chosen.", "Choose the one to improve at the top of the page.")
        from studio.improve import Subject

        return Subject(self._models.choice.path, self._models.model().quantization)

    def _rows(self) -> list[Mapping[str, Any]]:
        pairs = self._preferences.pairs(ACCEPTED)
        return [
            {"messages": pair.messages, "chosen": pair.chosen.text, "rejected": pair.rejected.text}
            for pair in sorted(pairs, key=lambda pair: pair.id)
        ]

    def _name(self, what: str) -> str:
        assert self._models.choice is not None
        return f"{self._models.choice.name} · {what}"
