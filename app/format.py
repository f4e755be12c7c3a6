"""Values as the page shows them: pure functions."""

import html
from collections.abc import Iterable
from typing import Any

from app.i18n import TEXTS, t
from app.preference_rows import MIN_VOTES, Tally

NOTICE = "⚠"
TITLES = (NOTICE, *TEXTS["sources"].values())  # of messages that are no part of what was said


def to_html(text: str) -> str:
    """Text for a component that shows HTML: names of folders and errors quote what others wrote."""
    return html.escape(text)


def to_messages(history: Any) -> list[dict[str, Any]]:
    """The conversation as text alone.

    It comes from the browser, where anybody may have written it: Gradio would show the files and components
    that it names, and read them for that. A notice or a list of sources keeps its mark; all else is dropped.
    """
    turns = history if isinstance(history, list) else []
    return [_message(turn) for turn in turns if isinstance(turn, dict) and turn.get("role") in ("user", "assistant")]


def without_notices(messages: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """What the model is given: a question that was answered with a notice is no part of it, nor is the notice.

    Lists of sources are left out.
    """
    given: list[dict[str, str]] = []
    for turn in messages:
        if "metadata" not in turn:
            given.append({"role": turn["role"], "content": turn["content"]})
        elif turn["metadata"]["title"] == NOTICE and given and given[-1]["role"] == "user":
            given.pop()
    return given


def _message(turn: dict[str, Any]) -> dict[str, Any]:
    message = {"role": turn["role"], "content": to_text(turn.get("content"))}
    metadata = turn.get("metadata")
    title = metadata.get("title") if isinstance(metadata, dict) else None
    marks = {"metadata": titled(title)} if title in TITLES else {}
    return message | marks | _button(turn.get("options"))


def _button(options: Any) -> dict[str, Any]:
    """The button of a refusal, where the message has one."""
    given = [option.get("label") for option in options if isinstance(option, dict)] if isinstance(options, list) else []
    label = next((label for label in TEXTS["ask_alone"].values() if label in given), None)
    return {"options": [{"value": label, "label": label}]} if label else {}


def refused(language: str) -> dict[str, Any]:
    """What marks a refusal of the documents: a button that asks the model alone."""
    return _button([{"label": t("ask_alone", language)}])


def titled(title: str) -> dict[str, str]:
    """The metadata of a message with a title, which Gradio shows folded where its status is done."""
    return {"title": title} if title == NOTICE else {"title": title, "status": "done"}


def to_text(content: Any) -> str:
    """The text of a chat message; Gradio gives strings or lists of typed parts. Lone surrogates become "?"."""
    if isinstance(content, str):
        return content.encode("utf-8", "replace").decode("utf-8")
    if isinstance(content, list):
        return "".join(to_text(part) for part in content)
    if isinstance(content, dict):
        return to_text(content.get("text"))
    return ""


def tally_line(tally: Tally, language: str) -> str:
    """The votes, the new version's share with its interval, and whether that tells."""
    if not tally.num_votes:
        return t("tally_none", language)
    low, high = tally.interval
    counts = t(
        "tally",
        language,
        new=tally.num_new,
        old=tally.num_old,
        ties=tally.num_ties,
        count=tally.num_votes,
        share=tally.share,
        low=low,
        high=high,
    )
    if not tally.is_telling:
        return f"{counts} {t('tally_few', language, missing=MIN_VOTES - tally.num_votes)}"
    verdicts = {"new": "tally_new", "old": "tally_old", None: "tally_open"}
    return f"{counts} {t(verdicts[tally.winner], language)}"


def short_count(number: int) -> str:
    """`12.6M`, `1.05B`."""
    if number >= 1e9:
        return f"{number / 1e9:.2f}B"
    return f"{number / 1e6:.1f}M"


def to_seed(text: str) -> int | None:
    """The number that was typed; None, a fresh one for each answer, where it is no number."""
    digits = text.strip()
    return int(digits) if digits.isascii() and digits.isdigit() else None


def to_names(value: Any) -> list[str]:
    """The names that a picker of several gives, whatever a browser may send instead."""
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
