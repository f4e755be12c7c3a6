"""Model files into the page: large ones, written as they arrive."""

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from app.dropped_routes import receive_file
from app.error_texts import error_text
from app.i18n import asked_language
from app.model_uploads import ModelUploads
from core.errors import AssistantError


def model_routes(uploads: ModelUploads) -> APIRouter:
    """The routes below /models."""
    router = APIRouter(prefix="/models")

    @router.post("/files/{batch}")
    async def receive(batch: str, name: str, request: Request) -> Response:
        """One file of a model: its bytes are the body."""
        try:
            path = uploads.place(batch, name)
        except AssistantError as exc:
            return JSONResponse({"error": error_text(exc, asked_language(request))}, 400)
        return await receive_file(request, path)

    return router
