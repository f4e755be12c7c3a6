"""The line below the conversation: what is awaited, or what the last answer cost and took of the context."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app.assistant import Update
from app.conversation_rows import Conversation, Message
from app.format import to_html
from app.seen_view import Usage, usage_html


class StatusLine:
    """Builds the line; a panel of the conversation."""

    def __init__(self) -> None:
        self.line = gr.HTML("", elem_id="status")

    @property
    def outputs(self) -> list[Any]:
        return [self.line]

    def shown(self, conversation: Conversation | None, path: Sequence[Message], language: str) -> dict[Any, Any]:
        """What the last answer took; as it was where nothing tells."""
        if conversation is None:
            return {self.line: ""}
        usage = Usage.of(path[-1].said.details) if path else None
        return {self.line: usage_html(usage, language) if usage else gr.skip()}


def status_html(update: Update, language: str) -> str:
    """The line while an answer is on its way."""
    return usage_html(update.usage, language) if update.usage else to_html(update.status)
