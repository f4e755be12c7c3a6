"""Files beside the composer: dropped onto the chat, pasted or picked, each with what became of it."""

import html
from typing import Any

import gradio as gr

from app.attachments import MAX_CHARS, MAX_FILE_BYTES, MAX_FILES, Attached, Attachments
from app.dropped_files import BATCH
from app.error_texts import error_text
from app.format import to_text
from app.i18n import ENGLISH, t

Updates = dict[Any, Any]  # component -> what it shows


class AttachmentBar:
    """Builds the button and the list of files that wait, which `attachments.js` fills."""

    def __init__(self, attachments: Attachments) -> None:
        self.attachments = attachments
        self.batch = gr.State("")
        self.bar = gr.HTML(
            bar_html([], ENGLISH), elem_id="attachments", js_on_load="astraiAttachments(element, trigger)"
        )

    def wire(self, language: Any, options: dict[str, Any]) -> None:
        given = [self.batch, language]
        self.bar.upload(self.show, given, self.outputs, **options)
        self.bar.input(self.remove, given, self.outputs, **options)

    @property
    def outputs(self) -> list[Any]:
        return [self.batch, self.bar]

    # Handlers

    def show(self, batch: str, language: str, event: gr.EventData) -> Updates:
        """What was received under the name that the page gave, and why other files were not taken."""
        given, failed = (to_text(getattr(event, name, "")) for name in ("batch", "failed"))
        batch = given if BATCH.fullmatch(given) else batch
        return {self.batch: batch, self.bar: bar_html(self.attachments.waiting(batch), language, failed=failed)}

    def remove(self, batch: str, language: str, event: gr.EventData) -> Updates:
        """Take a file back."""
        self.attachments.remove(batch, to_text(getattr(event, "name", "")))
        return self.shown(batch, language)

    def shown(self, batch: str, language: str) -> Updates:
        return {self.batch: batch, self.bar: bar_html(self.attachments.waiting(batch), language)}

    def texts(self, language: str) -> Updates:
        return {self.bar: bar_html([], language)}


def bar_html(files: list[Attached], language: str, *, failed: str = "") -> str:
    """The button, a chip for each file, and why others were not taken."""
    most = MAX_FILE_BYTES // 2**20
    hint = t("attach_hint", language, count=MAX_FILES, size=most, characters=MAX_CHARS)
    too_large = t("attach_too_large", language, name="{name}", size="{size}", most=most)
    chips = "".join(_chip(one, language) for one in files)
    return (
        f'<div class="attach" data-busy="{t("attaching", language)}" data-address="/chat/files"'
        f' data-most="{MAX_FILE_BYTES}" data-too-large="{html.escape(too_large)}">'
        f'<label class="pick" title="{hint}"><span aria-hidden="true">📎</span>'
        f'<input type="file" multiple aria-label="{t("attach", language)}. {hint}"></label>'
        f'<ul>{chips}</ul><span class="note" role="status">{html.escape(failed)}</span>'
        f'<small class="limits">{hint}</small></div>'
    )


def _chip(file: Attached, language: str) -> str:
    name = html.escape(file.name, quote=True)
    why = t("attached_chars", language, count=len(file.text))
    if file.error is not None:
        why = error_text(file.error, language).removeprefix(f"{file.name}: ").removeprefix(f"{file.name}：")
    away = t("attach_remove", language, name=name)
    return (
        f'<li class="{"bad" if file.error else ""}"><b>{name}</b> <small>{html.escape(why)}</small>'
        f'<button type="button" data-name="{name}" aria-label="{away}">×</button></li>'
    )
