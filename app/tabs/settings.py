"""Settings of the whole program, where its data lies, and the privacy receipt."""

import os
import shutil
from typing import Any

import gradio as gr
import psutil

from app.error_texts import error_text
from app.format import to_html
from app.i18n import t
from app.model_shelf import size_of
from app.models_view import size
from app.receipt_view import receipt_html
from app.services import Services
from app.settings import MAX_IDLE_MINUTES
from app.tabs.archive import ArchivePanel
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
            value=lambda: self.settings.values.idle_minutes,  # at each opening of the page
            precision=0,
            minimum=0,
            maximum=MAX_IDLE_MINUTES,
            elem_id="idle-minutes",
        )
        self.num_threads = gr.Number(
            value=lambda: self.settings.values.num_threads,
            precision=0,
            minimum=0,
            maximum=os.cpu_count() or 1,
            elem_id="num-threads",
        )
        self.place = gr.HTML("", elem_id="data-place")
        self.archive = ArchivePanel(services.backup, language)
        self.visits = gr.HTML("", elem_id="receipt")
        self.outputs = [self.idle_minutes, self.num_threads, self.place, self.archive.panel, self.visits]
        for field, keep in ((self.idle_minutes, self.set_idle_minutes), (self.num_threads, self.set_num_threads)):
            for event in (field.blur, field.submit):
                event(keep, [field, language], **PRIVATE)

    # Handlers: plain values in and out.

    def show(self, language: str) -> list[Any]:
        """Everything as it is now."""
        folder = data_dir()
        sizes = {"size": size(size_of(folder)), "free": size(shutil.disk_usage(folder).free)}
        place = f"{to_html(t('data_folder', language))} <code>{to_html(str(folder))}</code>"
        used = to_html(t("data_folder_size", language, **sizes))
        receipt = receipt_html(self.receipt.visits(), self.receipt.started_at, language)
        backup = self.archive.shown(language)
        values = self.settings.values
        title = to_html(t("settings_data", language))
        return [values.idle_minutes, values.num_threads, f"<h2>{title}</h2><p>{place} · {used}</p>", backup, receipt]

    def set_idle_minutes(self, minutes: float | None, language: str) -> None:
        """Keep after how long a model leaves memory."""
        self._keep("idle_minutes", minutes, t("settings_saved", language), language)

    def set_num_threads(self, count: float | None, language: str) -> None:
        """Keep how many threads of the CPU the next model takes."""
        self._keep("num_threads", count, t("threads_saved", language), language)

    def _keep(self, name: str, given: float | None, saved: str, language: str) -> None:
        if given is None or int(given) == getattr(self.settings.values, name):
            return
        try:
            self.settings.change(**{name: int(given)})
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return
        gr.Info(to_html(saved))

    def texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        return {
            self.memory_title: f"<h2>{to_html(t('settings_memory', language))}</h2>",
            self.idle_minutes: gr.update(label=t("idle_minutes", language)),
            self.num_threads: gr.update(label=t("threads", language), info=threads_hint(language)),
            self.archive.panel: self.archive.shown(language),
        }


def threads_hint(language: str) -> str:
    """What this computer has, and when the setting applies."""
    processors = os.cpu_count() or 1
    return t("threads_hint", language, cores=psutil.cpu_count(logical=False) or processors, processors=processors)
