"""The models: what is here, what can be had, what is on its way, and what is in memory."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.error_texts import error_text
from app.format import to_html
from app.i18n import t
from app.model_board import ModelBoard
from app.model_copies_view import copies_html
from app.models_view import getting_html, memory_line, offers_html, shelf_html, size, speed_line
from app.studio import COPIES
from core.errors import AssistantError

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
POLL_S = 1.0
MAX_CHARS = 4096
BUTTONS = "astraiStudio.buttons(element, trigger)"
Updates = dict[Any, Any]  # component -> what it shows


class ModelsTab:
    """Builds the page and answers its events."""

    def __init__(self, board: ModelBoard, language: gr.Radio) -> None:
        self.board, self.language = board, language
        self._build()
        self.outputs = [self.now, self.shelf, self.getting, self.offers, self.timer, self.seen]
        self._wire()

    def _build(self) -> None:
        self.seen, self.timer = gr.State(""), gr.Timer(POLL_S, active=False)
        self.now = gr.HTML("", elem_id="shelf-now", js_on_load=BUTTONS)
        self.getting = gr.HTML("", elem_id="getting", js_on_load=BUTTONS)
        self.shelf_title = gr.HTML("", elem_classes="section-title")
        self.shelf = gr.HTML("", elem_id="shelf", js_on_load=BUTTONS)
        self.get_title = gr.HTML("", elem_classes="section-title")
        self.offers = gr.HTML("", elem_id="offers", js_on_load=BUTTONS)
        with gr.Row(elem_classes="by-name"):
            self.name = gr.Textbox(max_lines=1, max_length=200, elem_id="hub-name", scale=4)
            self.fetch = gr.Button(size="sm", min_width=110, scale=0, elem_id="hub-download")
        with gr.Row(elem_classes="by-name"):
            self.path = gr.Textbox(max_lines=1, max_length=MAX_CHARS, elem_id="add-model-path", scale=4)
            self.add = gr.Button(size="sm", min_width=110, scale=0, elem_id="add-model")

    def _wire(self) -> None:
        shown: dict[str, Any] = {"fn": self.show, "inputs": self.language, "outputs": self.outputs, **PRIVATE}
        for board in (self.now, self.shelf, self.getting, self.offers):
            board.input(self.act, self.language, trigger_mode="multiple", **PRIVATE).then(**shown)
        for begin in (self.fetch.click, self.name.submit):
            begin(self.fetch_named, [self.name, self.language], self.name, **PRIVATE).then(**shown)
        for begin in (self.add.click, self.path.submit):
            begin(self.add_path, [self.path, self.language], self.path, **PRIVATE).then(**shown)
        self.timer.tick(self.poll, [self.seen, self.language], self.outputs, **PRIVATE)

    # Handlers: plain values in and out.

    def show(self, language: str) -> list[Any]:
        """Everything as it is now."""
        board = self.board
        board.meter.begin()
        return self._shown(language, self._mark())

    def poll(self, seen: str, language: str) -> list[Any]:
        """What moves; the lists only where something has come or gone, for they may hold what a user has opened."""
        mark = self._mark()
        shown = self._shown(language, mark)
        return shown if mark != seen else [shown[0], gr.skip(), shown[2], gr.skip(), *shown[4:]]

    def act(self, language: str, event: gr.EventData) -> None:
        """Do what a button says."""
        given = {
            name: str(getattr(event, name, ""))
            for name in ("act", "model", "offer", "download", "trash", "text", "run")
        }
        try:
            said = self._do(given["act"], given, language)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return
        if said:
            gr.Info(to_html(said))

    def fetch_named(self, name: str, language: str) -> Any:
        """Begin the download of a name that was typed."""
        return self._begin(lambda: self.board.download(name), name, language)

    def add_path(self, path: str, language: str) -> Any:
        """Begin to copy a model of this disk."""
        return self._begin(lambda: self.board.adding.begin(path.strip().strip("\"'")), path, language)

    def texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        titles = {self.shelf_title: "shelf_title", self.get_title: "get_title"}
        return {
            **{one: f"<h2>{to_html(t(key, language))}</h2>" for one, key in titles.items()},
            self.name: gr.update(label=t("hub_name", language), placeholder=t("hub_name_hint", language)),
            self.fetch: gr.update(value=t("download_it", language)),
            self.path: gr.update(label=t("add_model_path", language), info=t("add_path_hint", language)),
            self.add: gr.update(value=t("add_it", language)),
        }

    def _begin(self, begin: Callable[[], object], typed: str, language: str) -> Any:
        if not typed.strip():
            return gr.skip()
        try:
            begin()
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return gr.skip()
        return ""

    def _do(self, act: str, given: dict[str, str], language: str) -> str:
        """Do it, and give what is to be said. Raises AssistantError."""
        board, shelf, downloads = self.board, self.board.shelf, self.board.downloads
        if act in ("resume", "cancel", "forget") and given["download"]:
            getattr(downloads, act)(given["download"])
        elif act == "download":
            board.download(given["offer"])
        elif act == "load":
            return t("model_loading_begun", language, name=board.load(given["model"]).name)
        elif act == "unload":
            return t("model_unloaded_now", language) if board.models.unload() else ""
        elif act == "rename":
            shelf.rename(given["model"], given["text"])
        elif act == "delete":
            return t("model_deleted", language, name=shelf.delete(given["model"]).name)
        elif act == "put_back":
            return t("model_back", language, name=board.models.names.of(shelf.put_back(given["trash"])))
        elif act == "empty":
            return t("trash_emptied", language, size=size(shelf.empty_trash()))
        elif act in COPIES:
            return t("copy_begun", language, name=board.write_copy(act, given["model"], language).name)
        else:
            self._do_quietly(act, given)
        return ""

    def _do_quietly(self, act: str, given: dict[str, str]) -> None:
        if act in ("stop", "cancel"):
            self.board.studio.act(given["run"], act)
        elif act == "measure":
            self.board.meter.begin(again=True)
        elif act == "cancel_addition":
            self.board.adding.cancel()
        elif act == "forget_addition":
            self.board.adding.forget()

    def _shown(self, language: str, mark: str) -> list[Any]:
        board, speed = self.board, self.board.speed
        is_measuring = board.meter.is_measuring
        memory = memory_line(board.memory(), board.loaded_name(), language)
        return [
            f"<p>{memory}</p><p>{speed_line(speed, is_measuring=is_measuring, language=language)}</p>",
            shelf_html(board.shelf.all(speed), board.shelf.trash(), language),
            copies_html(board.copies(), language)
            + getting_html(board.downloads.all(), board.adding.state, board.host, language),
            offers_html(dict.fromkeys(board.here()), speed, board.host, language),
            gr.Timer(active=board.is_busy),
            mark,
        ]

    def _mark(self) -> str:
        """What the lists are of."""
        board = self.board
        choice = board.models.choice
        states = [(download.name, str(download.state)) for download in board.downloads.all()]
        is_added = board.adding.state is not None and board.adding.state.is_ended
        loaded = (str(choice.path) if choice else "", board.models.state.value)
        copies = [(job.id, str(job.state)) for job in board.copies()]
        return repr((loaded, states, copies, is_added, board.meter.is_measuring, len(board.models.choices())))
