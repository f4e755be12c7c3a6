"""What the page asks of the studio beside Gradio: lists and figures that change by themselves, dropped files.

The answers are pieces of HTML that `studio.js` puts where they belong, and numbers for its charts.
"""

from typing import TYPE_CHECKING

import orjson
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from app.dropped_routes import receive_dropped
from app.error_texts import error_text
from app.i18n import asked_language, t
from app.studio import LOG_BYTES, Studio
from app.studio_draft import rounded_form
from app.studio_runs_view import (
    answers_html,
    checkpoints_html,
    facts_html,
    head_html,
    log_html,
    proofs_html,
    result_html,
    runs_html,
    samples_html,
    settings_html,
)
from core.errors import AssistantError

if TYPE_CHECKING:
    from studio import Job


def studio_routes(studio: Studio) -> APIRouter:
    """The routes below /studio."""
    router = APIRouter(prefix="/studio")

    @router.get("/runs")
    def runs(request: Request) -> Response:
        """The list of runs."""
        store = studio.store
        return HTMLResponse(runs_html(store.jobs(), store.queue(), asked_language(request)))

    @router.get("/runs/{run}")
    def run_details(run: str, request: Request) -> Response:
        """What one run shows, by the place where it is put."""
        try:
            return JSONResponse(_details(studio, studio.job(run), asked_language(request)))
        except AssistantError as exc:
            return PlainTextResponse(error_text(exc, asked_language(request)), 404)

    @router.get("/runs/{run}/metrics")
    def metrics(run: str, request: Request) -> Response:
        """The series of a run, or its rows from a byte offset on."""
        given = request.query_params.get("from", "")
        offset = int(given) if given.isascii() and given.isdigit() else 0
        has_sample = request.query_params.get("sample") == "1"
        try:
            news = studio.metrics.news(studio.store.folder(run), offset, has_sample=has_sample)
            return Response(orjson.dumps(news), media_type="application/json")
        except AssistantError as exc:
            return PlainTextResponse(error_text(exc, asked_language(request)), 404)

    @router.get("/runs/{run}/answers")
    def answers(run: str, request: Request) -> Response:
        """What the checkpoints answered so far."""
        try:
            found, num_missing = studio.answers.look(studio.store.folder(run))
        except AssistantError as exc:
            return PlainTextResponse(error_text(exc, asked_language(request)), 404)
        note = t("answers_missing", asked_language(request), count=num_missing) if num_missing else ""
        rows = [{"step": one.step, "text": one.text, "is_error": one.is_error} for one in found]
        return JSONResponse({"answers": rows, "note": note})

    @router.post("/files/{batch}")
    async def receive(batch: str, name: str, request: Request) -> Response:
        """One file of a drop: its bytes are the body."""
        return await receive_dropped(request, studio.folder, lambda content: studio.receive(batch, name, content))

    return router


def _details(studio: Studio, job: "Job", language: str) -> dict[str, str]:
    rows = studio.last_rows(job)
    steps, config = studio.checkpoint_steps(job), studio.config(job)
    trained = [row for row in rows if "loss" in row]
    about = [other for other in studio.store.jobs() if other.spec.metadata.get("of") == job.id]
    return {
        "head": head_html(job, language),
        "facts": facts_html(trained[-1] if trained else {}, job, studio.limit(job, trained), language),
        "result": result_html(studio.result(job), language),
        "samples": samples_html(studio.samples(job), language),
        "checkpoints": checkpoints_html(steps, language),
        "answers": answers_html(language) if steps else "",
        "proofs": proofs_html(about, {other.id: studio.result(other) for other in about}, language),
        "log": log_html(studio.store.log_tail(job.id, LOG_BYTES), language),
        "settings": settings_html(config, str(job.folder), language, form=rounded_form(config)),
    }
