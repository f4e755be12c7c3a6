"""Three pickers that narrow which documents are asked: kind, folder, date. The library and the chat have them.

Each takes what is typed too: several kinds with commas between them, the beginning of a path, a date.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.i18n import t
from app.library import COPIES, Library
from app.scope import DAYS, folders

if TYPE_CHECKING:
    from rag.rows import DocumentRow

MAX_CHARS = 4096


class ScopePicker:
    """A row of pickers. `inputs` are their values, in the order of `Scope.picked`."""

    def __init__(self, place: str, *, visible: bool = True) -> None:
        with gr.Row(elem_id=f"{place}-scope", elem_classes="scope", visible=visible) as self.row:
            self.kinds, self.folder, self.since = self.inputs = [
                gr.Dropdown(
                    [("", "")], value="", allow_custom_value=True, show_label=False, container=False, min_width=90
                )
                for _ in range(3)
            ]

    def choices(self, documents: "Iterable[DocumentRow]", library: Library, language: str) -> list[Any]:
        """What can be picked of these documents, for `inputs`."""
        rows = list(documents)
        kinds = sorted({row.kind for row in rows if row.kind})
        return [
            gr.update(choices=[(t("any_kind", language), ""), *((kind, kind) for kind in kinds)]),
            gr.update(choices=[(t("any_folder", language), ""), *folders(rows, library.folder / COPIES)]),
            gr.update(choices=since_choices(language)),
        ]

    def texts(self, language: str) -> dict[Any, Any]:
        """What each picker shows in a language."""
        labels = (t("scope_kinds", language), t("scope_folder", language), t("scope_since", language))
        return {picker: gr.update(label=label) for picker, label in zip(self.inputs, labels, strict=True)}


def since_choices(language: str) -> list[tuple[str, str]]:
    """Labels and values: numbers of days; a date can be typed."""
    days = [(t("last_days", language, count=count), str(count)) for count in DAYS]
    return [(t("any_time", language), ""), *days]


def texts_of(kinds: Any, folder: Any, since: Any) -> tuple[list[str], str, str]:
    """What the pickers give, whatever a browser may send instead."""
    names = [name.strip() for name in str(kinds or "")[:MAX_CHARS].lower().split(",")]
    return [name for name in names if name], str(folder or "")[:MAX_CHARS], str(since or "")[:MAX_CHARS]
