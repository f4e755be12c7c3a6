"""Conversations as files, out of the page and into it."""

from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response

from app import conversation_files as files
from app.conversations import Conversations
from app.error_texts import error_text
from app.i18n import asked_language, t
from core.errors import AssistantError

MEDIA_TYPES = {"md": "text/markdown", "json": "application/json", "jsonl": "application/jsonl"}


def conversation_routes(conversations: Conversations) -> APIRouter:
    """The routes below /conversations."""
    router = APIRouter(prefix="/conversations")

    @router.get("/all.json")
    def export_all() -> Response:
        return _exported(conversations, None, "json")

    @router.get("/{conversation_id}.{ending}")
    def export(conversation_id: str, ending: str) -> Response:
        if ending not in MEDIA_TYPES:
            return PlainTextResponse("There is no such file.", 404)
        return _exported(conversations, conversation_id, ending)

    @router.post("/import")
    async def receive(name: str, request: Request) -> Response:
        """A file: its bytes are the body. The answer is a sentence for the user."""
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > files.MAX_FILE_BYTES:
                break  # `read` refuses it
        try:
            count = await run_in_threadpool(files.read, conversations, name, bytes(content))
        except AssistantError as exc:
            return PlainTextResponse(error_text(exc, asked_language(request)), 400)
        return PlainTextResponse(t("imported", asked_language(request), name=name[:80], count=count))

    return router


def _exported(conversations: Conversations, conversation_id: str | None, kind: str) -> Response:
    try:
        if conversation_id is None:
            text, title = files.to_json(conversations, [one.id for one in conversations.all()]), "conversations"
        else:
            conversation = conversations.get(conversation_id)
            title = conversation.title or "conversation"
            path = conversations.path(conversation_id)
            if kind == "json":
                text = files.to_json(conversations, [conversation_id])
            else:
                text = files.to_markdown(conversation, path) if kind == "md" else files.to_examples(path)
    except AssistantError as exc:
        return PlainTextResponse(str(exc), 404)
    name = "".join(one if one.isalnum() or one in " -_" else "_" for one in title)[:60].strip() or "conversation"
    disposition = f"attachment; filename*=UTF-8''{quote(name)}.{kind}"
    headers = {"content-disposition": disposition, "cache-control": "no-store"}
    return Response(text, media_type=MEDIA_TYPES[kind], headers=headers)
