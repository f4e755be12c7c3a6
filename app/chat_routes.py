"""What the chat asks for beside Gradio: files that are attached, and what a model saw for an answer."""

import html
from typing import IO

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from app.attachments import Attachments
from app.conversations import Conversations
from app.dropped_routes import receive_dropped
from app.error_texts import error_text
from app.i18n import asked_language
from app.seen_view import seen_html
from core.errors import AssistantError


def chat_routes(conversations: Conversations, attachments: Attachments) -> APIRouter:
    """The routes below /chat."""
    router = APIRouter(prefix="/chat")

    @router.get("/seen/{conversation}/{message}")
    def seen(conversation: str, message: int, request: Request) -> Response:
        """What the model saw for an answer, as a piece of HTML for a dialog; foreign text is escaped in `seen_view`."""
        try:
            details = conversations.message(conversation, message).said.details
            return HTMLResponse(seen_html(details, asked_language(request)))
        except AssistantError as exc:
            return HTMLResponse(f'<p class="error">{html.escape(error_text(exc, asked_language(request)))}</p>', 404)

    @router.post("/files/{batch}")
    async def receive(batch: str, name: str, request: Request) -> Response:
        """One file for the next question: its bytes are the body."""

        def keep(content: IO[bytes]) -> bool:
            attachments.receive(batch, name, content)
            return True

        return await receive_dropped(request, attachments.folder, keep)

    return router
