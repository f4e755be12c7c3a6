"""The conversation that is open: its messages in the chatbot, their versions, and earlier ones on demand.

What was said stands in the store. The browser keeps the conversation's id alone, and which message stands where in the
chatbot is kept on the server: what the browser says of the messages' texts is never believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import gradio as gr

from app.conversation_rows import Conversation, Kind, Message, turns
from app.conversation_view import PAGE_MESSAGES, Shown, marks_html, shown_messages
from app.conversations import Conversations
from app.error_texts import error_text
from app.format import to_html
from app.i18n import t
from app.preference_rows import Answer
from app.preferences import Preferences
from app.services import Services
from core.errors import AssistantError

LIKE, DISLIKE = "Like", "Dislike"
THUMBS = {1: LIKE, -1: DISLIKE}
LATEX: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]
TELL_OPENED = "() => { dispatchEvent(new Event('astrai-open')); }"  # to `page.js`, which holds questions until then
Updates = dict[Any, Any]  # component -> what it shows


@dataclass(frozen=True, slots=True)
class View:
    """What one browser tab shows: a conversation, whose message each of the chatbot is, and how many at most."""

    opened: str = ""
    ids: tuple[int | None, ...] = ()
    size: int = PAGE_MESSAGES

    @property
    def leaf(self) -> int | None:
        return next((id_ for id_ in reversed(self.ids) if id_ is not None), None)


class Panel(Protocol):
    """A part of the page that changes with the conversation that is open."""

    @property
    def outputs(self) -> list[Any]: ...

    def shown(self, conversation: Conversation | None, path: Sequence[Message], language: str) -> Updates:
        """What its outputs show of a conversation, None for a new one."""
        ...


class Thread:
    """Builds the chatbot and what belongs to it, and says what they show of a conversation."""

    def __init__(self, services: Services, *, secret: str) -> None:
        self.conversations: Conversations = services.conversations
        self.preferences: Preferences = services.preferences
        self.earlier = gr.Button(visible=False, size="sm", elem_id="earlier")
        self.chatbot = gr.Chatbot(
            show_label=False,
            elem_id="conversation",
            height="100%",
            latex_delimiters=LATEX,
            buttons=["copy"],
            editable="all",
            feedback_options=(LIKE, DISLIKE),
            allow_tags=False,
            group_consecutive_messages=False,
            layout="bubble",
        )
        # The chatbot draws all its messages at every change, so the answer that grows has a place of its own, which
        # `conversations.js` moves to the chatbot's end while there is something in it.
        self.live = gr.Markdown(
            "", elem_id="live", latex_delimiters=LATEX, line_breaks=True, sanitize_html=True, container=False
        )
        self.marks = gr.HTML("", elem_id="marks", js_on_load="astraiConversations.marks(element, trigger)")
        self.opened = gr.BrowserState("", storage_key="astrai-opened", secret=secret)
        self.view = gr.State(View())
        self.panels: list[Panel] = []  # what else tells of the open conversation

    @property
    def place(self) -> list[Any]:
        """What tells a handler which conversation is open, and what of it is shown."""
        return [self.opened, self.view]

    @property
    def outputs(self) -> list[Any]:
        """What `shown` gives values for."""
        more = (output for panel in self.panels for output in panel.outputs)
        return [self.chatbot, self.live, self.opened, self.view, self.marks, self.earlier, *more]

    def path(self, opened: str, view: View, *, whole: bool = False) -> list[Message]:
        """The messages that the tab shows, or all down to its last one; none where the conversation is gone."""
        if not opened or self.conversations.find(opened) is None:
            return []
        return self.conversations.path(opened, leaf=view.leaf, limit=-1 if whole else view.size)

    def shown(self, opened: str, view: View, language: str) -> Updates:
        """The conversation as the store has it, to the message that it shows last."""
        try:
            found = self.conversations.find(opened) if opened else None
            path = self.conversations.path(opened, limit=view.size) if found else []
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            found, path = None, []
        shown = shown_messages(path, language)
        is_longer = bool(path) and path[0].parent_id is not None
        earlier = gr.update(visible=is_longer, value=t("earlier", language, count=PAGE_MESSAGES))
        return {
            self.chatbot: gr.update(value=shown.messages, feedback_value=self.thumbs(opened, path, shown)),
            self.live: "",
            self.opened: found.id if found else "",
            self.view: replace(view, opened=found.id if found else "", ids=tuple(shown.ids)),
            self.marks: marks_html(found.id if found else "", path, shown, language),
            self.earlier: earlier,
            **{part: value for panel in self.panels for part, value in panel.shown(found, path, language).items()},
        }

    def show_earlier(self, opened: str, view: View, language: str) -> Updates:
        """As many messages more."""
        return self.shown(opened, replace(view, size=view.size + PAGE_MESSAGES), language)

    def message_at(self, opened: str, view: View, index: int) -> Message | None:
        """The message at a place of the chatbot; None where there is none."""
        id_ = view.ids[index] if 0 <= index < len(view.ids) else None
        try:
            return self.conversations.message(opened, id_) if id_ is not None else None
        except AssistantError:
            return None

    def asked(self, opened: str, message: Message) -> list[dict[str, str]]:
        """The conversation that a message was said to."""
        above = message.parent_id
        return turns(self.conversations.path(opened, leaf=above)) if above is not None else []

    def thumbs(self, opened: str, path: Sequence[Message], shown: Shown) -> list[str | None]:
        """The feedback of each message of the assistant, as the chatbot wants it. Nothing where it cannot be read."""
        rated = [message for message in path if is_own(message)]
        try:
            before = turns_before(self.conversations.path(opened, leaf=path[-1].id)) if rated else {}
            ratings = self.preferences.ratings((before[one.id], one.content) for one in rated)
        except AssistantError:
            ratings = []
        by_id = dict(zip((one.id for one in rated), ratings, strict=False))
        roles = zip(shown.messages, shown.ids, strict=True)
        return [THUMBS.get(by_id.get(id_ or 0, 0)) for message, id_ in roles if message["role"] == "assistant"]


def is_own(message: Message) -> bool:
    """Whether the model, or the user in its place, said it to the conversation alone, so that it may be learnt from."""
    said = message.said
    return message.role == "assistant" and said.kind is Kind.SAID and said.origin is not None


def answer_of(message: Message) -> Answer:
    """An answer as the preferences know it."""
    assert message.said.origin is not None
    return Answer(message.content, message.said.origin)


def turns_before(path: Sequence[Message]) -> dict[int, list[dict[str, str]]]:
    """For each answer of a path, what was said before it."""
    return {message.id: turns(path[:place]) for place, message in enumerate(path) if message.role == "assistant"}
