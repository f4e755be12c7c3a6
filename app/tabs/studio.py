"""The studio: a new run, the runs, the models, preferences."""

from functools import partial
from typing import Any

import gradio as gr

from app.i18n import t
from app.services import Services
from app.tabs.studio_models import ModelsPanel
from app.tabs.studio_new import Form, NewRunPanel
from app.tabs.studio_preferences import PreferencesPanel
from app.tabs.studio_runs import SHOW_RUN, RunsPanel

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
Updates = dict[Any, Any]  # component -> what it shows


class StudioTab:
    """Builds the panels and what leads from one to another."""

    def __init__(self, services: Services, language: gr.Radio) -> None:
        self.studio, self.language = services.studio, language
        self.started = gr.Textbox(visible="hidden")  # a state would stay with the server, and the script needs it
        with gr.Tabs(elem_id="studio-panels") as self.panels:
            with gr.Tab(id="new", elem_id="new-panel") as self.new_tab:
                self.new = NewRunPanel(self.studio, language)
            with gr.Tab(id="runs", elem_id="runs-panel") as self.runs_tab:
                self.runs = RunsPanel(self.studio, language, self.started)
            with gr.Tab(id="models", elem_id="models-panel") as self.models_tab:
                self.models = ModelsPanel(self.studio, language)
            with gr.Tab(id="preferences", elem_id="preferences-panel") as self.preferences_tab:
                self.preferences = PreferencesPanel(services, language)
        self._wire()

    def _wire(self) -> None:
        new = self.new
        liked = self.preferences
        begins = {
            new.start: (partial(new.begin, queued=False), new.inputs),
            new.queue: (partial(new.begin, queued=True), new.inputs),
            new.check: (new.begin_check, new.inputs),
            liked.improve: (partial(liked.begin, what="improve"), liked.inputs),
            liked.train_reward: (partial(liked.begin, what="reward"), liked.inputs),
            liked.reinforce: (partial(liked.begin, what="reinforce"), liked.inputs),
        }
        for button, (begin, inputs) in begins.items():
            button.click(begin, inputs, self.started, **PRIVATE).then(
                self.show_runs, self.started, self.panels, queue=False, **PRIVATE
            ).then(None, self.started, js=SHOW_RUN, **PRIVATE)
        self.preferences_tab.select(liked.show, liked.inputs, liked.outputs, queue=False, **PRIVATE)
        outputs = list(dict.fromkeys([self.panels, *new.draft, *new.shown, new.data]))
        self.runs.board.copy(self.duplicate, new.inputs, outputs, **PRIVATE)
        self.models.tree.copy(self.train_further, new.inputs, [self.panels, *new.shown], **PRIVATE)
        self.new_tab.select(new.show, new.inputs, new.shown, **PRIVATE)
        self.models_tab.select(self.models.show, self.language, self.models.tree, queue=False, **PRIVATE)

    # Handlers: plain values in and out.

    def show_runs(self, run: str) -> Any:
        return gr.update(selected="runs") if run else gr.skip()

    def duplicate(self, form: Form, event: gr.EventData) -> Updates:
        """Put a run's settings into the new run."""
        return {self.panels: gr.update(selected="new"), **self.new.take_over(str(getattr(event, "run", "")), form)}

    def train_further(self, form: Form, event: gr.EventData) -> Updates:
        """Choose a model for the new run."""
        return {self.panels: gr.update(selected="new"), **self.new.start_from(str(getattr(event, "model", "")), form)}

    def texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        titles = {
            self.new_tab: "tab_new",
            self.runs_tab: "tab_runs",
            self.models_tab: "tab_models",
            self.preferences_tab: "tab_preferences",
        }
        return {
            **{tab: gr.update(label=t(key, language)) for tab, key in titles.items()},
            **self.new.texts(language),
            **self.runs.texts(language),
            **self.models.texts(language),
            **self.preferences.texts(language),
        }
