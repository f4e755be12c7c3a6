"""The studio: a new run, the runs, the models, preferences."""

from functools import partial
from typing import Any

import gradio as gr

from app.i18n import t
from app.services import Services
from app.tabs.studio_models import ModelsPanel
from app.tabs.studio_new import NewRunPanel
from app.tabs.studio_runs import RunsPanel

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
PANELS = ("new", "runs", "models")
SHOW_RUN = "(run) => { if (run) astraiStudio.go(run); }"
Updates = dict[Any, Any]  # component -> what it shows


class StudioTab:
    """Builds the panels and what leads from one to another."""

    def __init__(self, services: Services, language: gr.Radio) -> None:
        self.studio, self.language = services.studio, language
        self.started = gr.State("")
        with gr.Tabs(elem_id="studio-panels") as self.panels:
            with gr.Tab(id="new", elem_id="new-panel") as self.new_tab:
                self.new = NewRunPanel(self.studio, language)
            with gr.Tab(id="runs", elem_id="runs-panel") as self.runs_tab:
                self.runs = RunsPanel(self.studio, language)
            with gr.Tab(id="models", elem_id="models-panel") as self.models_tab:
                self.models = ModelsPanel(self.studio, language)
        self._wire()

    def _wire(self) -> None:
        new = self.new
        about = [new.report, self.language, *new.draft]
        for button, queued in ((new.start, False), (new.queue, True)):
            button.click(partial(new.begin, queued=queued), about, self.started, **PRIVATE).then(
                self.show_runs, self.started, self.panels, queue=False, **PRIVATE
            ).then(None, self.started, js=SHOW_RUN)
        outputs = [self.panels, *new.draft, *new.shown, new.data, new.report, new.path]
        self.runs.board.copy(self.duplicate, self.language, list(dict.fromkeys(outputs)), **PRIVATE)
        self.models.tree.copy(self.train_further, self.language, [self.panels, new.base], **PRIVATE)
        self.new_tab.select(new.show, about, [*new.shown], queue=False, **PRIVATE)
        self.models_tab.select(self.models.show, self.language, self.models.tree, queue=False, **PRIVATE)

    # Handlers: plain values in and out.

    def open(self, *about: Any) -> Updates:
        """The tab as it opens."""
        return self.new.show(*about)

    def show_runs(self, run: str) -> Any:
        return gr.update(selected="runs") if run else gr.skip()

    def duplicate(self, language: str, event: gr.EventData) -> Updates:
        """Put a run's settings into the new run."""
        return {self.panels: gr.update(selected="new"), **self.new.take_over(str(getattr(event, "run", "")), language)}

    def train_further(self, language: str, event: gr.EventData) -> Updates:
        """Choose a model for the new run."""
        return {
            self.panels: gr.update(selected="new"),
            **self.new.start_from(str(getattr(event, "path", "")), language),
        }

    def texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        titles = {self.new_tab: "tab_new", self.runs_tab: "tab_runs", self.models_tab: "tab_models"}
        return {
            **{tab: gr.update(label=t(key, language)) for tab, key in titles.items()},
            **self.new.texts(language),
            **self.runs.texts(language),
            **self.models.texts(language),
        }
