"""What a library is set to, folded away below its documents: followed folders, the embedder, the weight of meaning."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from app.downloads import hub_host
from app.embedder_downloads import EmbedderDownloads
from app.error_texts import error_html
from app.i18n import t
from app.library import Library
from app.library_embedder import embedder_name
from app.library_view import embedder_html, missing_embedder_html, self_test_html, weight_html
from app.models_view import getting_html
from app.tabs.models import BUTTONS, POLL_S
from core.errors import AssistantError

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
MAX_PATH_CHARS = 4096
DOWNLOAD_ACTS = ("begin", "resume", "cancel", "forget")
Updates = dict[Any, Any]  # component -> what it shows


class LibrarySettings:
    """Three folded parts. `outputs` are what `show` fills; `begin` starts work and says how it is under way."""

    def __init__(
        self,
        library: Library,
        embedders: EmbedderDownloads,
        language: gr.Radio,
        begin: Callable[[Callable[[], None], str], list[Any]],
    ) -> None:
        self.library, self.embedders, self.language, self._begin = library, embedders, language, begin
        self._build()
        self.fetching = [self.getting, self.timer]
        self.outputs = [self.watched, self.embedder_now, *self.fetching, self.weight_now, self.usual]

    def _build(self) -> None:
        self.advised, self.timer = gr.State(None), gr.Timer(POLL_S, active=False)
        with gr.Accordion(open=False, elem_id="watching") as self.watching, gr.Row():
            self.watched = gr.Dropdown([], show_label=False, container=False, elem_id="watched")
            self.unwatch = gr.Button(size="sm", min_width=120, scale=0, elem_id="unwatch")
        with gr.Accordion(open=False, elem_id="embedding") as self.embedding:
            self.embedder_now = gr.HTML("", elem_id="embedder-now")
            with gr.Row():
                self.embedder = gr.Textbox(
                    show_label=False, container=False, max_lines=1, max_length=MAX_PATH_CHARS, elem_id="embedder",
                    scale=3,
                )  # fmt: skip
                self.use = gr.Button(size="sm", min_width=120, scale=0, elem_id="use-embedder")
                self.use_own = gr.Button(size="sm", min_width=160, scale=0, elem_id="use-own-embedder")
            self.getting = gr.HTML("", elem_id="embedder-getting", js_on_load=BUTTONS)
        with gr.Accordion(open=False, elem_id="measuring") as self.measuring:
            self.languages = gr.HTML("", elem_id="across-languages")
            self.weight_now = gr.HTML("", elem_id="weight-now")
            self.figures = gr.HTML("", elem_id="figures")
            with gr.Row():
                self.measure = gr.Button(size="sm", min_width=160, scale=0, elem_id="measure")
                self.apply = gr.Button(
                    size="sm", min_width=160, scale=0, variant="primary", visible=False, elem_id="apply-weight"
                )
                self.usual = gr.Button(size="sm", min_width=160, scale=0, visible=False, elem_id="usual-weight")

    def wire(self, collection: gr.Dropdown, begun: Sequence[Any], shown: dict[str, Any]) -> None:
        """`begun` shows work under way, `shown` is the event that shows the whole library."""
        choice, both = [self.embedder, self.language], [*begun, *self.fetching]
        self.use.click(self.use_embedder, choice, both, **PRIVATE)
        self.embedder.submit(self.use_embedder, choice, both, **PRIVATE)
        self.getting.input(self.act, self.language, self.fetching, **PRIVATE)
        self.timer.tick(self.poll, self.language, both, **PRIVATE)
        self.use_own.click(self.use_own_embedder, self.language, begun, **PRIVATE)
        self.unwatch.click(self.stop_watching, self.watched, **PRIVATE).then(**shown)
        measured: dict[str, Any] = {
            "fn": self.measure_search,
            "inputs": [collection, self.language],
            "outputs": [self.figures, self.advised, self.apply],
            **PRIVATE | {"show_progress": "minimal"},
        }
        self.measure.click(**measured)
        self.apply.click(self.weigh, [self.advised, self.language], self.outputs, **PRIVATE).then(**measured)
        self.usual.click(self.weigh_as_usual, self.language, self.outputs, **PRIVATE).then(**measured)

    # Handlers: plain values in and out.

    def show(self, language: str) -> list[Any]:
        """What is set now. Raises: AssistantError if the library cannot be read."""
        kb = self.library.open() if self.library.exists else None
        watched = [str(folder) for folder, _ in kb.watched()] if kb else []
        weight = kb.meaning_weight if kb else 1.0
        return [
            gr.update(choices=watched, value=watched[0] if watched else None),
            embedder_html(embedder_name(self.library.embedders.current), language),
            *self._fetching(language),
            weight_html(weight, language),
            gr.update(visible=weight != 1),
        ]

    def use_embedder(self, text: str, language: str) -> list[Any]:
        """Begin to make vectors with the embedder that was typed; one that is not here is offered for download."""
        if not text.strip():
            return [gr.skip()] * 5
        missing = self.embedders.missing(text)
        if missing is None:
            return [*self._begin(lambda: self.library.choose_embedder(text), language), *self._fetching(language)]
        return [*[gr.skip()] * 3, missing_embedder_html(missing, hub_host(), language), gr.skip()]

    def act(self, language: str, event: gr.EventData) -> list[Any]:
        """Do with a download what a button says."""
        name, act = str(getattr(event, "download", "")), str(getattr(event, "act", ""))
        try:
            if act in DOWNLOAD_ACTS:
                getattr(self.embedders, act)(name)
        except AssistantError as exc:
            return [error_html(exc, language), gr.skip()]
        return self._fetching(language)

    def poll(self, language: str) -> list[Any]:
        """How far the downloads are; what is whole is used, which is work of the library."""
        return [*self._begin(lambda: None, language), *self._fetching(language)]

    def _fetching(self, language: str) -> list[Any]:
        rows = getting_html(self.embedders.unfinished(), None, hub_host(), language)
        return [rows, gr.update(active=self.embedders.is_busy)]

    def use_own_embedder(self, language: str) -> list[Any]:
        return self._begin(lambda: self.library.choose_embedder(""), language)

    def stop_watching(self, folder: str | None) -> None:
        if folder:
            self.library.open().unwatch(folder)

    def measure_search(self, collection: str, language: str) -> tuple[str, float | None, Any]:
        """Ask the library questions made from its own passages; with them, the weight that would be better."""
        try:
            found = self.library.open().self_test([collection] if collection else None) if self.library.exists else None
        except AssistantError as exc:
            return error_html(exc, language), None, gr.update(visible=False)
        advised = found.better_weight if found else None
        return self_test_html(found, language), advised, gr.update(visible=advised is not None)

    def weigh(self, weight: float | None, language: str) -> Updates:
        """Let meaning weigh as was advised."""
        try:
            if weight is not None:
                self.library.open().meaning_weight = weight
            return dict(zip(self.outputs, self.show(language), strict=True))
        except AssistantError as exc:
            return {self.weight_now: error_html(exc, language)}

    def weigh_as_usual(self, language: str) -> Updates:
        return self.weigh(1.0, language)

    def texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        return {
            self.watching: gr.update(label=t("watched_folders", language)),
            self.watched: gr.update(label=t("watched_folders", language)),
            self.unwatch: gr.update(value=t("stop_watching", language)),
            self.embedding: gr.update(label=t("embedders", language)),
            self.embedder: gr.update(label=t("embedder_field", language), placeholder=t("embedder_field", language)),
            self.use: gr.update(value=t("embedder_use", language)),
            self.use_own: gr.update(value=t("embedder_own", language)),
            self.measuring: gr.update(label=t("measuring", language)),
            self.languages: f"<p>{t('across_languages', language)}</p>",
            self.measure: gr.update(value=t("measure", language)),
            self.apply: gr.update(value=t("weight_apply", language)),
            self.usual: gr.update(value=t("weight_undo", language)),
        }
