"""What a conversation's answers were: which model said them, and the versions that were asked for again.

It lives in the browser beside the conversation and is stored nowhere else: only what is rated is written down. The key
of a question is its place in the conversation. An answer that is not in here came from documents or is a notice: it was
said with passages that the conversation does not show, so that nobody may learn it as an answer to the question alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from app.format import without_notices
from app.preference_rows import Answer, Origin, prompt_hash

Messages = list[dict[str, Any]]
MAX_VERSIONS = 16


@dataclass(frozen=True, slots=True)
class Said:
    """The versions of one answer, and which of them is shown."""

    prompt: str  # hash of the conversation that they answer
    answers: tuple[Answer, ...]
    shown: int

    @property
    def answer(self) -> Answer:
        return self.answers[self.shown]

    @property
    def others(self) -> list[Answer]:
        return [answer for number, answer in enumerate(self.answers) if number != self.shown]


class ChatRecord:
    """The answers of one conversation by the place of their question."""

    def __init__(self, said: dict[int, Said]) -> None:
        self._said = said

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Of what a browser kept, the parts that are what they should be."""
        rows = values if isinstance(values, dict) else {}
        found = {int(place): _said(row) for place, row in rows.items() if place.isascii() and place.isdigit()}
        return cls({place: said for place, said in found.items() if said is not None})

    def to_json(self) -> dict[str, Any]:
        return {
            str(place): {
                "prompt": said.prompt,
                "answers": [asdict(answer) for answer in said.answers],
                "shown": said.shown,
            }
            for place, said in self._said.items()
        }

    def at(self, history: Sequence[dict[str, Any]], index: int) -> Said | None:
        """The answer of the message at `index`; None where no model alone said it."""
        said = self._said.get(question_place(history, index))
        return said if said and _words(history[index].get("content")) == _words(said.answer.text) else None

    def last(self, history: Sequence[dict[str, Any]]) -> Said | None:
        return self.at(history, len(history) - 1) if history else None

    def say(self, history: Sequence[dict[str, Any]], answer: Answer) -> None:
        """Note an answer to the question that ends `history`: a further version where that was answered before."""
        place, prompt = len(history) - 1, prompt_hash(without_notices(history))
        before = self._said.get(place)
        known = before.answers if before and before.prompt == prompt else ()
        answers = (*(one for one in known if one.text != answer.text), answer)[-MAX_VERSIONS:]
        self._said = {earlier: said for earlier, said in self._said.items() if earlier < place}
        self._said[place] = Said(prompt, answers, len(answers) - 1)

    def replace(self, history: Sequence[dict[str, Any]], index: int, answer: Answer) -> None:
        """Note that the answer at `index` now reads otherwise; the one before stays a version."""
        place = question_place(history, index)
        said = self._said[place]
        answers = (*(one for one in said.answers if one.text != answer.text), answer)[-MAX_VERSIONS:]
        self._said[place] = Said(said.prompt, answers, len(answers) - 1)

    def step(self, history: Sequence[dict[str, Any]], by: int) -> Said | None:
        """Show the version before or after for the last answer, round and round."""
        said = self.last(history)
        if said is None:
            return None
        turned = Said(said.prompt, said.answers, (said.shown + by) % len(said.answers))
        self._said[question_place(history, len(history) - 1)] = turned
        return turned


def question_place(history: Sequence[dict[str, Any]], index: int) -> int:
    """Where the question stands that the message at `index` answers, or is; -1 without one."""
    return next((place for place in range(index, -1, -1) if history[place]["role"] == "user"), -1)


def asked(history: Sequence[dict[str, Any]], index: int) -> list[dict[str, str]]:
    """The conversation that the answer at `index` was given to."""
    return without_notices(history[: question_place(history, index) + 1])


def _words(text: Any) -> list[str]:
    """What a text says: the chatbot takes spaces from its ends and its lines' beginnings."""
    return text.split() if isinstance(text, str) else []


def _said(row: Any) -> Said | None:
    if not isinstance(row, dict) or not isinstance(row.get("answers"), list):
        return None
    answers = tuple(
        Answer(one["text"], Origin.from_dict(one.get("origin")))
        for one in row["answers"][:MAX_VERSIONS]
        if isinstance(one, dict) and isinstance(one.get("text"), str)
    )
    shown, prompt = row.get("shown"), row.get("prompt")
    if type(shown) is not int or not 0 <= shown < len(answers) or not isinstance(prompt, str):
        return None
    return Said(prompt, answers, shown)
