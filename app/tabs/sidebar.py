"""The conversations beside the chat: the list, the search, and what can be done with each of them."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.conversation_view import found_html, list_html, undo_html
from app.error_texts import error_text
from app.format import to_html, to_text
from app.i18n import t
from app.tabs.feedback import Feedback
from app.tabs.thread import TELL_OPENED, Updates, View
from core.errors import AssistantError

MAX_SEARCH_CHARS = 200
Stop = Callable[[gr.Request], None]


class Sidebar:
    """Builds the column and answers its events. `Feedback.shown` is what an opened conversation looks like."""

    def __init__(self) -> None:
        with gr.Column(elem_id="sidebar", min_width=200, scale=0):
            self.new = gr.Button(size="sm", elem_id="sidebar-new")
            self.search = gr.Textbox(show_label=False, container=False, max_length=200, elem_id="conversation-search")
            self.list = gr.HTML("", elem_id="conversations", js_on_load="astraiConversations.list(element, trigger)")
            self.temporary = gr.Checkbox(container=True, elem_id="temporary")

    def wire(
        self, feedback: Feedback, language: Any, stop: Callable[[gr.Request], None], options: dict[str, Any]
    ) -> None:
        """`stop` ends the answer that is under way in a tab."""
        self.feedback, self.thread, self.stop = feedback, feedback.thread, stop
        self.conversations = self.thread.conversations
        here = [*self.thread.place, language, self.search]
        # Not `input`, which comes with the text of before where several characters are put in at once.
        self.search.change(
            self.find, [self.thread.opened, language, self.search], self.list, trigger_mode="always_last", **options
        )
        shown = [self.list, self.search, *feedback.outputs]
        acted = self.list.input(self.act, here, shown, **options)
        begun = self.temporary.input(self.begin, [language, self.search], [self.list, *feedback.outputs], **options)
        for event in (acted, begun):
            event.then(None, js=TELL_OPENED, **options)

    def shown(self, opened: str, language: str, search: str = "") -> Updates:
        """The list, or what is searched for, with the open conversation marked."""
        return {self.list: self.find(opened, language, search)}

    # Handlers

    def find(self, opened: str, language: str, search: str) -> str:
        """The list, or what a search finds."""
        words = to_text(search)[:MAX_SEARCH_CHARS]
        try:
            if not words.strip():
                return list_html(self.conversations.all(), opened, language)
            return found_html(self.conversations.search(words), opened, language)
        except AssistantError as exc:
            return f'<p class="none">{to_html(error_text(exc, language))}</p>'

    def act(
        self, opened: str, view: View, language: str, search: str, event: gr.EventData, request: gr.Request
    ) -> Updates:
        """Do what an entry of the list says."""
        act, chosen, text = (to_text(getattr(event, name, "")) for name in ("act", "conversation", "text"))
        try:
            return self._act(act, chosen, text, (opened, view, language, search, request))
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return self.shown(opened, language, search)

    def begin(self, language: str, search: str, request: gr.Request) -> Updates:
        """An empty conversation; it is made when something is said in it."""
        self.stop(request)
        return {**self.feedback.shown("", View(), language), **self.shown("", language, search)}

    def texts(self, language: str) -> Updates:
        """What each part with text shows in a language."""
        name = t("search_conversations", language)
        return {
            self.new: gr.update(value=t("new_chat", language)),
            self.search: gr.update(placeholder=name, label=name),
            self.temporary: gr.update(label=t("temporary", language)),
        }

    def _act(self, act: str, chosen: str, text: str, here: tuple[str, View, str, str, gr.Request]) -> Updates:
        opened, _, language, search, request = here
        if act == "open":
            self.stop(request)
            if text.isascii() and text.isdigit():
                self.conversations.reveal(chosen, int(text))
            return {**self.feedback.shown(chosen, View(), language), **self.shown(chosen, language, search)}
        if act == "delete":
            conversation = self.conversations.get(chosen)
            self.conversations.delete(chosen)
            rest = self.begin(language, search, request) if chosen == opened else self.shown(opened, language, search)
            return {**rest, self.list: undo_html(conversation, language) + str(rest[self.list])}
        if act == "undelete":
            self.conversations.undelete(chosen)
        elif act == "rename" and text.strip():
            self.conversations.change(chosen, title=text)
        elif act == "move":
            self.conversations.change(chosen, folder=text)
        elif act in ("pin", "unpin"):
            self.conversations.change(chosen, pinned=act == "pin")
        elif act == "imported":
            gr.Info(to_html(text))
        return {**self.shown(opened, language), self.search: ""}
