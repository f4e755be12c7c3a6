"""The models as a tree, and what can be made of each: a chat, another training, an evaluation, a copy."""

from pathlib import Path
from typing import Any

import gradio as gr

from app.error_texts import error_text
from app.format import to_html
from app.i18n import t
from app.studio import COPIES, Studio
from app.studio_models_view import tree_html
from core.errors import AssistantError

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
MAX_PATH_CHARS = 4096
Updates = dict[Any, Any]  # component -> what it shows


class ModelsPanel:
    """Builds the panel and answers its events."""

    def __init__(self, studio: Studio, language: gr.Radio) -> None:
        self.studio, self.language = studio, language
        with gr.Row(elem_classes="evaluating"):
            self.files = gr.Textbox(max_lines=1, max_length=MAX_PATH_CHARS, elem_id="evaluation-files")
        self.tree = gr.HTML("", elem_id="model-tree", js_on_load="astraiStudio.buttons(element, trigger)")
        self.tree.input(self.act, [self.files, language], **PRIVATE)

    # Handlers: plain values in and out.

    def act(self, files: str, language: str, event: gr.EventData) -> None:
        """Start what a button of a model says."""
        act, path = str(getattr(event, "act", "")), str(getattr(event, "model", ""))
        try:
            node = self.studio.model(path)
            if act == "evaluate":
                given = [str(Path(one).expanduser()) for one in files.split(";") if one.strip()]
                if not given:
                    gr.Warning(t("no_evaluation_files", language))
                    return
                job = self.studio.evaluate(node, given)
            elif act in COPIES:
                job = self.studio.write_copy(act, path, node.name, language)
            else:
                return
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return
        gr.Info(to_html(t("model_job_started", language, name=job.name)))

    def show(self, language: str) -> str:
        """The tree as it is now."""
        try:
            return tree_html(self.studio.models(), language)
        except AssistantError as exc:
            return f'<p class="error">{to_html(error_text(exc, language))}</p>'

    def texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        return {self.files: gr.update(label=t("evaluation_files", language), info=t("evaluation_files_hint", language))}
