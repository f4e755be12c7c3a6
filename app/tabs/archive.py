"""Backing up and restoring, in the settings: `upload.js` sends the zip, which the next start puts in place."""

import html
import time
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import gradio as gr

from app.archive import forget_staged, staged_parts
from app.backing_up import Backup, Made
from app.error_texts import error_html, error_text
from app.format import to_html
from app.i18n import CHINESE, t
from app.models_view import size
from app.studio_parts import act_button
from core.errors import AssistantError

POLL_S = 0.3


class ArchivePanel:
    """Builds the two buttons and answers them."""

    def __init__(self, backup: Backup, language: gr.Radio) -> None:
        self.backup = backup
        self.panel = gr.HTML("", elem_id="archive", js_on_load="astraiArchive(element, trigger)")
        options: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        self.panel.input(self.act, language, self.panel, **options)

    def shown(self, language: str) -> str:
        return archive_html(self.backup.state, staged_parts(), language)

    def act(self, language: str, event: gr.EventData) -> Iterator[str]:
        """Make a backup and say how far it is, or take a restoring back; what was sent shows by itself."""
        act = str(getattr(event, "act", ""))
        try:
            if act == "back_up":
                self.backup.begin()
            elif act == "forget":
                forget_staged()
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
        while self.backup.is_active:
            yield self.shown(language)
            time.sleep(POLL_S)
        yield self.shown(language)


def archive_html(made: Made | None, staged: Sequence[str], language: str) -> str:
    """The buttons, and what became of them."""
    texts = {name: t(f"archive_{name}", language) for name in ("sending", "checking", "lost")}
    data = "".join(f' data-{name}="{html.escape(text)}"' for name, text in texts.items())
    is_off = made is not None and not made.is_ended
    return (
        f'<section class="archive"{data}><h2>{t("archive_title", language)}</h2>'
        f'<p class="hint">{t("archive_about", language)}</p><div class="acts">'
        f"{act_button('back_up', t('archive_back_up', language), is_off=is_off)}"
        f'<label class="act pick">{t("archive_restore", language)}<input type="file" accept=".zip"></label></div>'
        f'<div class="told" role="status">{_made_html(made, language)}</div>'
        f'<div class="sent" role="status"></div>{_staged_html(staged, language)}</section>'
    )


def _made_html(made: Made | None, language: str) -> str:
    if made is None:
        return ""
    if made.error is not None:
        return error_html(made.error, language)
    if made.path is None:
        done, total = min(made.done_bytes, made.total_bytes), made.total_bytes
        line = t("archive_making", language, done=size(done), total=size(total))
        return f'<progress value="{done}" max="{max(total, 1)}"></progress> {line}'
    link = t("archive_fetch", language, name=made.path.name, size=size(made.path.stat().st_size))
    line = t("archive_made", language)
    return f'<p>{line} <a class="fetch" href="/archive/backup.zip" download="{made.path.name}">{link}</a></p>'


def _staged_html(parts: Sequence[str], language: str) -> str:
    if not parts:
        return ""
    names = ("、" if language == CHINESE else ", ").join(
        t(f"part_{PurePosixPath(part).stem}", language) for part in parts
    )
    return (
        f'<div class="staged"><p>{html.escape(t("archive_staged", language, parts=names))}'
        f" <b>{t('archive_restart', language)}</b></p>{act_button('forget', t('archive_forget', language))}</div>"
    )
