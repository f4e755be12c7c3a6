"""Settings of the whole program, where its data lies, and the privacy receipt."""

import shutil
from typing import Any

import gradio as gr

from app.error_texts import error_text
from app.format import to_html
from app.i18n import t
from app.model_shelf import size_of
from app.models_view import size
from app.receipt_view import receipt_html
from app.services import Services
from app.settings import MAX_IDLE_MINUTES
from core.errors import AssistantError
from core.folders import data_dir

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
Updates = dict[Any, Any]  # component -> what it shows


class SettingsTab:
    """Builds the page and answers its events."""

    def __init__(self, services: Services, language: gr.Radio) -> None:
        self.settings, self.receipt = services.settings, services.receipt
        self.memory_title = gr.HTML("")
        self.idle_minutes = gr.Number(
            value=self.settings.values.idle_minutes,
            precision=0,
            minimum=0,
            maximum=MAX_IDLE_MINUTES,
            elem_id="idle-minutes",
        )
        self.place = gr.HTML("", elem_id="data-place")
        self.visits = gr.HTML("", elem_id="receipt")
        self.outputs = [self.idle_minutes, self.place, self.visits]
        for event in (self.idle_minutes.blur, self.idle_minutes.submit):
            event(self.set_idle_minutes, [self.idle_minutes, language], **PRIVATE)

    # Handlers: plain values in and out.

    def show(self, language: str) -> list[Any]:
        """Everything as it is now."""
        folder = data_dir()
        sizes = {"size": size(size_of(folder)), "free": size(shutil.disk_usage(folder).free)}
        place = f"{to_html(t('data_folder', language))} <code>{to_html(str(folder))}</code>"
        used = to_html(t("data_folder_size", language, **sizes))
        receipt = receipt_html(self.receipt.visits(), self.receipt.started_at, language)
        title = to_html(t("settings_data", language))
        return [self.settings.values.idle_minutes, f"<h2>{title}</h2><p>{place} · {used}</p>", receipt]

    def set_idle_minutes(self, minutes: float | None, language: str) -> None:
        """Keep after how long a model leaves memory."""
        if minutes is None or int(minutes) == self.settings.values.idle_minutes:
            return
        try:
            self.settings.change(idle_minutes=int(minutes))
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return
        gr.Info(to_html(t("settings_saved", language)))

    def texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        return {
            self.memory_title: f"<h2>{to_html(t('settings_memory', language))}</h2>",
            self.idle_minutes: gr.update(label=t("idle_minutes", language)),
        }
