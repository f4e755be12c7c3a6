"""Thumbs, corrections and versions under the answers of the chat: what the user prefers, as it is said."""

from typing import Any

import gradio as gr

from app.chat_record import ChatRecord, Messages, asked
from app.error_texts import error_text
from app.format import to_html, to_messages, to_text
from app.i18n import t
from app.preference_rows import Answer
from app.services import Services
from core.errors import AssistantError

LIKE, DISLIKE = "Like", "Dislike"
THUMBS = {1: LIKE, -1: DISLIKE}
Updates = dict[Any, Any]  # component -> what it shows


class Feedback:
    """Builds the bar of versions and answers its events; the thumbs and the pen are the chatbot's own."""

    def __init__(self, services: Services, chatbot: gr.Chatbot, saved_chat: gr.BrowserState, *, secret: str) -> None:
        self.preferences, self.chatbot, self.saved_chat = services.preferences, chatbot, saved_chat
        with gr.Row(visible=False, elem_id="versions") as self.bar:
            self.previous = gr.Button("‹", min_width=36, size="sm", elem_id="version-previous")
            self.place = gr.HTML("", elem_id="version-place")
            self.next = gr.Button("›", min_width=36, size="sm", elem_id="version-next")
            self.better = gr.Button(size="sm", elem_id="version-better")
        self.record = gr.BrowserState({}, storage_key="astrai-record", secret=secret)

    def wire(self, language: Any, options: dict[str, Any], ask_again: dict[str, Any]) -> None:
        """`ask_again` answers the conversation when a question was edited."""
        seen = [self.chatbot, self.record, language]
        self.chatbot.like(self.rate, seen, self.chatbot, **options)
        self.chatbot.edit(self.edit, seen, self.outputs, **options).success(**ask_again)
        self.previous.click(self.show_previous, seen, self.outputs, **options)
        self.next.click(self.show_next, seen, self.outputs, **options)
        self.better.click(self.pick, seen, **options)

    @property
    def outputs(self) -> list[Any]:
        """What `shown` gives values for."""
        return [self.chatbot, self.saved_chat, self.record, self.bar, self.place]

    # Handlers

    def rate(self, history: Messages, saved: Any, language: str, event: gr.LikeData) -> Any:
        """Store a thumb, or take it back."""
        messages, record, index = to_messages(history), ChatRecord.from_json(saved), _index(event)
        said = record.at(messages, index) if index < len(messages) else None
        if said is None:
            gr.Info(t("not_rated", language))
            return gr.update(feedback_value=self.thumbs(messages, record))
        rating = 1 if event.liked is True else -1 if event.liked is False else 0
        try:
            self.preferences.rate(asked(messages, index), said.answer, rating)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
        return gr.update(feedback_value=self.thumbs(messages, record))

    def edit(self, history: Messages, saved: Any, language: str, event: gr.EditData) -> Updates:
        """A corrected answer is better than the one before it; an edited question is asked again."""
        messages, record, index = to_messages(history), ChatRecord.from_json(saved), _index(event)
        text = to_text(event.value)
        if index >= len(messages) or not text.strip():
            return self.shown(messages, record)
        if messages[index]["role"] == "user":
            return self.shown([*messages[:index], {"role": "user", "content": text}], record)
        # The browser has put the new text in already.
        messages[index] = {**messages[index], "content": to_text(event.previous_value)}
        said = record.at(messages, index)
        if said is None:
            gr.Info(t("not_rated", language))
        elif text != said.answer.text:
            try:
                self.preferences.correct(asked(messages, index), said.answer, text)
                record.replace(messages, index, Answer(text))
                messages[index] = {"role": "assistant", "content": text}
                gr.Info(t("correction_kept", language))
            except AssistantError as exc:
                gr.Warning(to_html(error_text(exc, language)))
        return self.shown(messages, record)

    def show_previous(self, history: Messages, saved: Any, language: str) -> Updates:
        return self._step(history, saved, -1)

    def show_next(self, history: Messages, saved: Any, language: str) -> Updates:
        return self._step(history, saved, 1)

    def pick(self, history: Messages, saved: Any, language: str) -> None:
        """The version that is shown is better than the others."""
        messages, record = to_messages(history), ChatRecord.from_json(saved)
        said = record.last(messages)
        if said is None:
            return
        try:
            count = self.preferences.pick(asked(messages, len(messages) - 1), said.answer, said.others)
            gr.Info(t("pick_kept", language, count=count))
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))

    # What the chat shows

    def shown(self, messages: Messages, record: ChatRecord) -> Updates:
        """The conversation with its thumbs, and the bar of versions, which is there once there is a choice."""
        said = record.last(messages)
        count = len(said.answers) if said else 0
        return {
            self.chatbot: gr.update(value=messages, feedback_value=self.thumbs(messages, record)),
            self.saved_chat: messages,
            self.record: record.to_json(),
            self.bar: gr.update(visible=count > 1),
            self.place: f"{said.shown + 1} / {count}" if said else "",
        }

    def thumbs(self, messages: Messages, record: ChatRecord) -> list[str | None]:
        """The feedback of each message of the assistant, as the chatbot wants it. Nothing where it cannot be read."""
        places = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
        said = {index: found for index in places if (found := record.at(messages, index))}
        try:
            ratings = self.preferences.ratings((asked(messages, index), one.answer.text) for index, one in said.items())
        except AssistantError:
            return [None] * len(places)
        rated = dict(zip(said, ratings, strict=True))
        return [THUMBS.get(rated.get(index, 0)) for index in places]

    def texts(self, language: str) -> Updates:
        return {self.better: gr.update(value=t("version_better", language))}

    def _step(self, history: Messages, saved: Any, by: int) -> Updates:
        messages, record = to_messages(history), ChatRecord.from_json(saved)
        if said := record.step(messages, by):
            messages[-1] = {"role": "assistant", "content": said.answer.text}
        return self.shown(messages, record)


def _index(event: gr.LikeData | gr.EditData) -> int:
    """The place of a message."""
    return event.index if isinstance(event.index, int) else int(event.index[0])
