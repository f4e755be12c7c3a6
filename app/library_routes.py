"""What the page asks of the library beside Gradio: a passage to look at, the picture of its page, dropped files.

The answers are pieces of HTML that `library.js` puts into its dialog; text of documents is escaped in `passages`.
"""

import html
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from app.dropped_routes import receive_dropped
from app.error_texts import error_html, error_text
from app.i18n import asked_language, t
from app.library import COPIES, Library
from app.passages import context_html
from core.errors import AssistantError, DataError

if TYPE_CHECKING:
    from rag.documents import Box
    from rag.rows import DocumentRow

MAX_PAGES = 3  # that one passage is shown on


def library_routes(library: Library) -> APIRouter:
    """The routes below /library."""
    router = APIRouter(prefix="/library")

    @router.get("/passage/{document_id}/{start}/{end}")
    def passage(document_id: int, start: int, end: int, request: Request) -> Response:
        """A document around a passage: its pages with boxes, or its text with a mark."""
        language = asked_language(request)
        try:
            return HTMLResponse(_passage(library, document_id, start, end, language))
        except AssistantError as exc:
            return HTMLResponse(error_html(exc, language), 404)

    @router.get("/page/{document_id}/{start}/{end}/{page}.png")
    def page_image(document_id: int, start: int, end: int, page: int, request: Request) -> Response:
        """A page of a PDF with the passage boxed."""
        try:
            boxes = [box for number, box in _boxes(library, document_id, start, end) if number == page]
            image = library.open().page_image(document_id, page, boxes)
        except AssistantError as exc:
            return Response(error_text(exc, asked_language(request)), 404, media_type="text/plain")
        return Response(image, media_type="image/png", headers={"cache-control": "private, max-age=600"})

    @router.post("/files/{batch}")
    async def receive(batch: str, name: str, collection: str, request: Request) -> Response:
        """One file of a drop: its bytes are the body."""
        return await receive_dropped(
            request, library.folder, lambda content: library.receive(batch, name, content, collection)
        )

    return router


def _document(library: Library, document_id: int) -> "DocumentRow":
    found = library.open().document(document_id)
    if found is None:
        raise DataError("This document is not in the library any more.", "Search again.")
    return found


def _boxes(library: Library, document_id: int, start: int, end: int) -> "list[tuple[int, Box]]":
    """Page and box of every line of characters [start, end) of a document."""
    from rag.parsing import passage_boxes

    chunks = library.open().chunks(document_id)
    lines = {line for chunk in chunks if chunk.start < end and start < chunk.end for line in chunk.lines}
    return passage_boxes(sorted(lines, key=lambda line: line.start), start, end, library.open().text(document_id))


def _passage(library: Library, document_id: int, start: int, end: int, language: str) -> str:
    document = _document(library, document_id)
    text = library.open().text(document_id)
    if not 0 <= start < end <= len(text):
        raise DataError("{name} changed since this was written.", "Ask again.", name=document.path.name)
    boxes = _boxes(library, document_id, start, end)
    pages = list(dict.fromkeys(page for page, _ in boxes))[:MAX_PAGES]
    top = min((box.top for page, box in boxes if page in pages[:1]), default=0.0)
    title = f"<h2>{html.escape(document.path.name)}</h2>"
    number = [t("page", language, page=page) for page in pages[:1]]
    is_copy = document.path.is_relative_to(library.folder / COPIES)
    folder = [] if is_copy else [str(document.path.parent)]
    where = " · ".join(map(html.escape, (document.collection, *number, *folder)))
    images = "".join(
        f'<img class="page" data-top="{top if page == pages[0] else 0:.1f}" alt="{t("page", language, page=page)}" '
        f'src="/library/page/{document_id}/{start}/{end}/{page}.png">'
        for page in pages
    )
    shown = f"<details{'' if images else ' open'}><summary>{t('as_text', language)}</summary>"
    return f'{title}<p class="where">{where}</p>{images}{shown}{context_html(text, start, end)}</details>'
