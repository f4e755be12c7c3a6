"""Conversations as the page shows them: pure functions from messages and titles to what the components hold."""

import html
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.attachments import attached_files
from app.conversation_rows import Conversation, Found, Kind, Message, State
from app.format import NOTICE, refused, titled, with_formulas
from app.i18n import t
from app.seen_view import Usage, usage_line

PAGE_MESSAGES = 60
MAX_LISTED = 200
FORMATS = ("md", "json", "jsonl")
# What Gradio calls its own parts in English alone, and our texts for it.
GRADIO_TITLES = {
    "chatbot conversation": "conversation_log",
    "Copy message": "copy_message",
    "Scroll down": "scroll_down",
    "Reset to default value": "reset_value",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What the chatbot shows of a conversation: its messages, and whose each is, None for a list of sources."""

    messages: list[dict[str, Any]]
    ids: list[int | None]


def shown_messages(path: Sequence[Message], language: str) -> Shown:
    """The messages of a path, each list of sources as one of its own after its answer."""
    messages: list[dict[str, Any]] = []
    ids: list[int | None] = []
    for message in path:
        messages.append(_chat_message(message, language))
        ids.append(message.id)
        if message.said.sources:
            title = titled(t("sources", language))
            messages.append({"role": "assistant", "content": message.said.sources, "metadata": title})
            ids.append(None)
    return Shown(messages, ids)


def marks_html(opened: str, path: Sequence[Message], shown: Shown, language: str) -> str:
    """What `conversations.js` puts below messages.

    Which version of how many, that one was interrupted, what an answer cost and where to see what it was made from,
    how files were given. It also notes which conversation this tab has open.
    """
    marks = []
    for message in path:
        mark: dict[str, Any] = {"at": shown.ids.index(message.id), "message": message.id}
        if message.num_versions > 1:
            mark |= {"version": message.version, "of": message.num_versions}
        if message.state is State.INTERRUPTED:
            mark["note"] = t("interrupted", language)
        elif note := attached_note(message.said.details, language):
            mark["note"] = note
        if usage := Usage.of(message.said.details):
            mark["seen"] = f"/chat/seen/{opened}/{message.id}"
            if message is not path[-1]:  # of the last one the status line tells
                mark["line"] = usage_line(usage, language)
        if len(mark) > 2:
            marks.append(mark)
    keys = {"previous": "previous_version", "next": "next_version", "seen": "seen_title", "edited": "edited_message"}
    texts = {name: t(key, language) for name, key in keys.items()}
    titles = {name: t(key, language) for name, key in GRADIO_TITLES.items()}
    return _data("marks", {"opened": opened, "marks": marks, "texts": texts, "titles": titles})


def list_html(conversations: Sequence[Conversation], opened: str, language: str) -> str:
    """The pinned ones, the folders, and the others, the last one first."""
    pinned = [one for one in conversations if one.pinned]
    rest = [one for one in conversations if not one.pinned]
    folders = sorted({one.folder for one in rest if one.folder}, key=str.casefold)
    parts = [_section(t("pinned", language), pinned, opened, language)] if pinned else []
    for folder in folders:
        inside = [one for one in rest if one.folder == folder]
        is_open = " open" if any(one.id == opened for one in inside) else ""
        items = _items(inside, opened, language)
        parts.append(
            f'<details class="folder" data-name="{_attribute(folder)}"{is_open}>'
            f"<summary>{html.escape(folder)} <small>{len(inside)}</small></summary>{items}</details>"
        )
    loose = [one for one in rest if not one.folder]
    if loose or not parts:
        parts.append(_section(t("recent", language), loose, opened, language))
    names = "".join(f'<option value="{_attribute(folder)}"></option>' for folder in folders)
    return (
        f'<nav aria-label="{t("conversations", language)}">{"".join(parts)}'
        f'<datalist id="conversation-folders">{names}</datalist></nav>{_foot(language)}'
    )


def found_html(found: Sequence[Found], opened: str, language: str) -> str:
    """What a search found, with the words around."""
    if not found:
        return f'<p class="none">{t("no_conversation_found", language)}</p>'
    items = "".join(_item(one.conversation, opened, language, one.excerpt, one.message_id) for one in found)
    return f'<nav aria-label="{t("conversations", language)}"><ul>{items}</ul></nav>'


def undo_html(conversation: Conversation, language: str) -> str:
    """That a conversation was deleted, and the way back."""
    return (
        f'<div class="undo" role="status" data-id="{conversation.id}">'
        f"<span>{t('deleted', language, title=html.escape(name_of(conversation, language)))}</span>"
        f'<button data-act="undelete">{t("undo", language)}</button></div>'
    )


def name_of(conversation: Conversation, language: str) -> str:
    """What a conversation is called."""
    return conversation.title or t("new_chat", language)


def attached_note(details: Mapping[str, Any], language: str) -> str:
    """How the files of a message were given to the model. Plain text."""
    return " · ".join(
        t(f"attached_{file['use']}", language, name=file["name"], count=len(file["passages"]))
        for file in attached_files(details)
    )


def _chat_message(message: Message, language: str) -> dict[str, Any]:
    content = with_formulas(message.content) if message.role == "assistant" else message.content
    shown: dict[str, Any] = {"role": message.role, "content": content}
    if message.is_notice:
        shown["metadata"] = titled(NOTICE)
    return shown | (refused(language) if message.said.kind is Kind.REFUSAL else {})


def _section(title: str, conversations: Sequence[Conversation], opened: str, language: str) -> str:
    more = len(conversations) - MAX_LISTED
    note = f'<p class="none">{t("older_ones", language, count=more)}</p>' if more > 0 else ""
    return f"<h2>{html.escape(title)}</h2>{_items(conversations, opened, language)}{note}"


def _items(conversations: Sequence[Conversation], opened: str, language: str) -> str:
    items = (_item(one, opened, language) for one in conversations[:MAX_LISTED])
    return f"<ul>{''.join(items)}</ul>"


def _item(
    conversation: Conversation, opened: str, language: str, excerpt: str = "", message_id: int | None = None
) -> str:
    name = html.escape(name_of(conversation, language))
    current = ' aria-current="true"' if conversation.id == opened else ""
    words = f"<small>{html.escape(excerpt)}</small>" if excerpt else ""
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime(conversation.updated))
    return (
        f'<li data-id="{conversation.id}" data-title="{_attribute(conversation.title)}"'
        f' data-folder="{_attribute(conversation.folder)}" data-message="{message_id or ""}"{current}>'
        f'<button class="open" data-act="open" title="{name} · {date}"><span>{name}</span>{words}</button>'
        f"{_menu(conversation, language)}</li>"
    )


def _menu(conversation: Conversation, language: str) -> str:
    pin = "unpin" if conversation.pinned else "pin"
    acts = (("rename", t("rename", language)), (pin, t(pin, language)), ("move", t("move", language)))
    buttons = "".join(f'<button data-act="{act}">{text}</button>' for act, text in acts)
    links = "".join(
        f'<a href="/conversations/{conversation.id}.{one}" download>{t(f"export_{one}", language)}</a>'
        for one in FORMATS
    )
    return (
        f'<details class="menu"><summary aria-label="{t("more", language)}">⋯</summary><div>{buttons}{links}'
        f'<button class="delete" data-act="delete">{t("delete", language)}</button></div></details>'
    )


def _foot(language: str) -> str:
    return (
        f'<div class="foot"><label class="import">{t("import", language)}'
        '<input type="file" accept=".json,.jsonl,.md" multiple></label>'
        f'<a href="/conversations/all.json" download>{t("export_all", language)}</a></div>'
    )


def _data(name: str, value: Any) -> str:
    return f'<div class="{name}" data-value="{_attribute(json.dumps(value, ensure_ascii=False))}"></div>'


def _attribute(text: str) -> str:
    return html.escape(text, quote=True)
