"""Thumbs, corrections and versions of the messages of the chat: what the user prefers, as it is said."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.conversation_rows import Said
from app.conversation_view import shown_messages
from app.error_texts import error_text
from app.format import to_html, to_text, with_formulas
from app.i18n import ENGLISH, t
from app.preference_rows import Origin
from app.tabs.thread import Thread, Updates, View, answer_of, is_own
from core.errors import AssistantError


class Feedback:
    """Builds the bar below the last answer and answers its events; the thumbs and the pen are the chatbot's own."""

    def __init__(self, thread: Thread) -> None:
        self.thread, self.conversations, self.preferences = thread, thread.conversations, thread.preferences
        with gr.Row(visible=False, elem_id="answer-bar") as self.bar:
            self.go_on = gr.Button(size="sm", elem_id="go-on")
            self.better = gr.Button(size="sm", elem_id="version-better")

    def wire(self, language: Any, options: dict[str, Any], then_answer: Callable[[Any], None]) -> None:
        """`then_answer` lets an event be followed by an answer, where a question is left without one."""
        seen, chatbot = [*self.thread.place, language], self.thread.chatbot
        chatbot.like(self.rate, seen, chatbot, **options)
        then_answer(chatbot.edit(self.edit, seen, self.outputs, **options))
        self.thread.marks.input(self.turn, seen, self.outputs, **options)
        self.thread.earlier.click(self.thread.show_earlier, seen, self.thread.outputs, **options)
        self.better.click(self.pick, seen, **options)

    @property
    def outputs(self) -> list[Any]:
        """What `shown` gives values for."""
        return [*self.thread.outputs, self.bar, self.go_on, self.better]

    def shown(self, opened: str, view: View, language: str) -> Updates:
        """The conversation, and what can be done with its last answer."""
        shown = self.thread.shown(opened, view, language)
        now: View = shown[self.thread.view]
        last = self.thread.message_at(opened, now, now.ids.index(now.leaf)) if now.leaf is not None else None
        can_go_on = last is not None and is_own(last)
        can_pick = can_go_on and last is not None and last.num_versions > 1
        return {
            **shown,
            self.bar: gr.update(visible=can_go_on),
            self.go_on: gr.update(visible=can_go_on, value=t("go_on", language)),
            self.better: gr.update(visible=can_pick, value=t("version_better", language)),
        }

    # Handlers

    def rate(self, opened: str, view: View, language: str, event: gr.LikeData) -> Any:
        """Store a thumb, or take it back."""
        message = self.thread.message_at(opened, view, _index(event))
        if message is None or not is_own(message):
            gr.Info(t("not_rated", language))
        else:
            rating = 1 if event.liked is True else -1 if event.liked is False else 0
            try:
                self.preferences.rate(self.thread.asked(opened, message), answer_of(message), rating)
            except AssistantError as exc:
                gr.Warning(to_html(error_text(exc, language)))
        return gr.update(feedback_value=self._thumbs(opened, view))

    def edit(self, opened: str, view: View, language: str, event: gr.EditData) -> Updates:
        """Another wording is a version beside the one before, with nothing below it yet.

        A corrected answer is better than the one before; an edited question is asked again.
        """
        message, text = self.thread.message_at(opened, view, _index(event)), to_text(event.value)
        if message is None or message.is_notice or not text.strip() or _is_same(text, message.content):
            return self.shown(opened, view, language)
        try:
            if message.role == "assistant":
                self._correct(opened, message_id=message.id, text=text, language=language)
            else:
                self.conversations.add(opened, "user", Said(text), parent_id=message.parent_id)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
        return self.shown(opened, view, language)

    def turn(self, opened: str, view: View, language: str, event: gr.EventData) -> Updates:
        """Show the version of a message before or after the one that is shown."""
        message, by = getattr(event, "message", None), getattr(event, "by", None)
        if type(message) is int and by in (-1, 1):
            try:
                self.conversations.turn(opened, message, int(by))
            except AssistantError as exc:
                gr.Warning(to_html(error_text(exc, language)))
        return self.shown(opened, view, language)

    def pick(self, opened: str, view: View, language: str) -> None:
        """The version of the last answer that is shown is better than the others."""
        try:
            versions = self.conversations.versions(opened, view.leaf) if view.leaf is not None else []
            own = {one.id: one for one in versions if is_own(one)}
            if view.leaf not in own:
                return
            chosen = own.pop(view.leaf)
            others = [answer_of(one) for one in own.values()]
            count = self.preferences.pick(self.thread.asked(opened, chosen), answer_of(chosen), others)
            gr.Info(t("pick_kept", language, count=count))
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))

    def _thumbs(self, opened: str, view: View) -> list[str | None]:
        path = self.thread.path(opened, view)
        return self.thread.thumbs(opened, path, shown_messages(path, ENGLISH))

    def _correct(self, opened: str, *, message_id: int, text: str, language: str) -> None:
        message = self.conversations.message(opened, message_id)
        is_learnt = is_own(message)
        if is_learnt:
            self.preferences.correct(self.thread.asked(opened, message), answer_of(message), text)
        corrected = Said(text, origin=Origin() if is_learnt else None, sources=message.said.sources)
        self.conversations.add(opened, "assistant", corrected, parent_id=message.parent_id)
        gr.Info(t("correction_kept" if is_learnt else "edit_not_learnt", language))


def _is_same(text: str, content: str) -> bool:
    """Whether an edit changed nothing of what was shown of a message."""
    return text.split() in (content.split(), with_formulas(content).split())


def _index(event: gr.LikeData | gr.EditData) -> int:
    """The place of a message."""
    return event.index if isinstance(event.index, int) else int(event.index[0])
