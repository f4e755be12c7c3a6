"""The first page: a newcomer chooses a good model to fetch, or the starter, with one click."""

from typing import Any

import gradio as gr

from app.error_texts import error_text
from app.format import to_html
from app.i18n import t
from app.model_board import ModelBoard
from app.models import ModelState
from app.models_view import first_html, getting_html
from app.settings import Settings
from core.errors import AssistantError

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
POLL_S = 1.0
BUTTONS = "astraiStudio.buttons(element, trigger)"
Updates = dict[Any, Any]  # component -> what it shows


class FirstPanel:
    """Builds the panel above the conversation; it is there until a model was chosen, and while that comes."""

    def __init__(self, board: ModelBoard, settings: Settings) -> None:
        self.board, self.settings = board, settings
        self.timer, self.wanted = gr.Timer(POLL_S, active=False), gr.State("")
        self.panel = gr.HTML("", elem_id="first", visible=False, js_on_load=BUTTONS)
        self.outputs = [self.panel, self.timer, self.wanted]

    @property
    def is_due(self) -> bool:
        """Whether nothing was chosen yet and nothing but the starter is here."""
        choices = self.board.models.choices()
        return not self.settings.values.is_welcomed and all(choice.is_starter for choice in choices)

    # Handlers: plain values in and out.

    def show(self, language: str) -> list[Any]:
        """The panel as the page opens."""
        if not self.is_due:
            return [gr.update(visible=False), gr.Timer(active=False), ""]
        return self._offers(language, waits=self._waits_for_speed())

    def _waits_for_speed(self) -> bool:
        """Whether this machine's speed is still to come; it is measured when no model loads beside."""
        board = self.board
        if board.speed is not None or board.meter.is_done:
            return False
        if board.models.state is not ModelState.LOADING:
            board.meter.begin()
        return True

    def _offers(self, language: str, *, waits: bool) -> list[Any]:
        offers, host = self.board.first_offers(), self.board.host
        shown = first_html(offers, self.board.speed, host, language, is_measuring=waits)
        return [gr.update(value=shown, visible=True), gr.Timer(active=waits), ""]

    def act(self, language: str, event: gr.EventData) -> list[Any]:
        """Do what a button says."""
        act, name = str(getattr(event, "act", "")), str(getattr(event, "offer", ""))
        download = str(getattr(event, "download", ""))
        try:
            if act == "download":
                self.board.download(name)
                self.settings.change(is_welcomed=True)
                return self.poll(name, language)
            if act in ("cancel", "resume", "forget"):
                getattr(self.board.downloads, act)(download)
                return self.poll("" if act == "forget" else download, language)
            self.settings.change(is_welcomed=True)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return [gr.skip()] * 3
        return [gr.update(visible=False), gr.Timer(active=False), ""]

    def poll(self, wanted: str, language: str) -> list[Any]:
        """How far the model is that was asked for; once it is here it is loaded, and the panel goes.

        Before one was asked for, the offers are shown again as soon as this machine's speed is known.
        """
        if not wanted and self.is_due:
            return [gr.skip()] * 3 if self._waits_for_speed() else self._offers(language, waits=False)
        if choice := self.board.take_over_finished(wanted):
            gr.Info(to_html(t("first_ready", language, name=choice.name)))
            return [gr.update(visible=False), gr.Timer(active=False), ""]
        download = self.board.downloads.find(wanted)
        if download is None:
            return [gr.update(visible=False), gr.Timer(active=False), ""]
        row = getting_html([download], None, self.board.host, language)
        line = to_html(t("first_fetching", language, name=wanted))
        shown = f'<section class="first"><p class="hint">{line}</p>{row}</section>'
        return [gr.update(value=shown, visible=True), gr.Timer(active=download.is_active), wanted]
