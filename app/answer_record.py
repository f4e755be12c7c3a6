"""An answer on its way into the store of conversations: written while it grows, so that a crash leaves most of it."""

import time
from typing import Self

from app.assistant import Update
from app.conversation_rows import Kind, Message, Said, State
from app.conversations import Conversations

SAVE_EVERY_S = 0.7  # each time the disk is waited for


class AnswerRecord:
    """The message that an answer becomes. Leaving the block before `complete` marks it as interrupted."""

    def __init__(self, conversations: Conversations, conversation_id: str, question: Message) -> None:
        """`question` is what is answered; an answer there is gone on with."""
        self._conversations, self._conversation = conversations, conversation_id
        self._question, self._state = question, State.PARTIAL
        self._id = question.id if question.role == "assistant" else None
        self._taken: Said | None = None
        self._saved = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._taken is not None:  # else it was stopped before its first word
            self._write(State.INTERRUPTED if self._state is State.PARTIAL else self._state)

    def take(self, update: Update) -> None:
        """Remember how the answer reads now; the disk has it within SAVE_EVERY_S."""
        kind = Kind.NOTICE if update.is_error else Kind.REFUSAL if update.is_refusal else Kind.SAID
        if not update.text or (kind is Kind.NOTICE and self._question.role == "assistant"):
            return  # an answer that could not be gone on with stays as it is
        self._taken = Said(update.text, kind, update.origin, update.sources, update.details)
        if self._id is None or time.monotonic() - self._saved >= SAVE_EVERY_S:
            self._write(State.PARTIAL)

    def complete(self) -> None:
        """It is whole, or the user has stopped it."""
        self._state = State.COMPLETE

    def _write(self, state: State) -> None:
        assert self._taken is not None
        self._saved = time.monotonic()
        if self._id is None:
            self._id = self._conversations.add(
                self._conversation, "assistant", self._taken, parent_id=self._question.id, state=state
            )
        else:
            self._conversations.save(self._conversation, self._id, self._taken, state)
