"""The runs: what `studio.js` shows of them, and what their buttons do."""

from typing import Any

import gradio as gr

from app.error_texts import error_text
from app.format import to_html
from app.i18n import t
from app.studio import Studio
from app.studio_runs_view import skeleton_html
from core.errors import AssistantError

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
SHOW_RUN = "(run) => { if (run) astraiStudio.go(run); }"
MAX_PROMPT_CHARS, MAX_SEED = 2000, 2**31 - 1
Updates = dict[Any, Any]  # component -> what it shows


class RunsPanel:
    """Builds the panel and answers its events."""

    def __init__(self, studio: Studio, language: gr.Radio, started: gr.Textbox) -> None:
        self.studio, self.language = studio, language
        self.board = gr.HTML("", elem_id="runs-board", js_on_load="astraiStudio.runs(element, trigger)")
        self.board.input(self.act, language, started, **PRIVATE).then(None, started, js=SHOW_RUN, **PRIVATE)

    # Handlers: plain values in and out.

    def act(self, language: str, event: gr.EventData) -> str:
        """Do what a button or a field of a run says; the run that was started to be looked at, if any."""
        act, run, text = (str(getattr(event, name, "")) for name in ("act", "run", "text"))
        try:
            if act == "answer":
                self._ask(run, str(getattr(event, "prompt", "")), str(getattr(event, "seed", "")))
                return ""
            if act == "answer_stop":
                self.studio.answers.stop(self.studio.store.folder(run))
                return ""
            job = self.studio.act(run, act, text)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return ""
        if job is None or job.id == run:
            return ""
        gr.Info(to_html(t("started", language, name=t(f"kind_{job.spec.kind}", language))))
        return job.id

    def _ask(self, run: str, prompt: str, seed: str) -> None:
        """Put a prompt to every checkpoint of a run."""
        if prompt.strip():
            number = int(seed) if seed.isascii() and seed.isdigit() else 1
            self.studio.answers.ask(self.studio.store.folder(run), prompt[:MAX_PROMPT_CHARS], min(number, MAX_SEED))

    def texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        return {self.board: skeleton_html(language)}
