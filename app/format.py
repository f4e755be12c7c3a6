"""Values as the page shows them: pure functions."""

import html
import re
import time
from typing import Any

from app.i18n import t
from app.preference_rows import MIN_VOTES, Tally

NOTICE = "⚠"
# Code and formulas of their own lines stay as they are. Pandoc's rule tells a formula's dollars from money's: no space
# inside of them, no digit after them. https://pandoc.org/MANUAL.html#extension-tex_math_dollars
_FORMULA = re.compile(
    r"(?P<kept>```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?(?:\$\$|\Z))"
    r"|(?<![\\$A-Za-z0-9])\$(?P<formula>(?=[^\s$])[^$\n]*?[^\s\\$])\$(?![\d$])",
    re.DOTALL,
)


def to_html(text: str) -> str:
    """Text for a component that shows HTML: names of folders and errors quote what others wrote."""
    return html.escape(text)


def with_formulas(text: str) -> str:
    """Markdown whose formulas within a line, `$x^2$`, have the brackets that the page draws, `\\(x^2\\)`."""
    if "$" not in text:
        return text
    return _FORMULA.sub(lambda found: found["kept"] or f"\\({found['formula']}\\)", text)


def quantization_name(quantization: str, language: str) -> str:
    """How weights are held in memory, in words where they are as they were made."""
    return t("not_quantized", language) if quantization == "none" else quantization


def refused(language: str) -> dict[str, Any]:
    """What marks a refusal of the documents: a button that asks the model alone."""
    label = t("ask_alone", language)
    return {"options": [{"value": label, "label": label}]}


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


def short_time(seconds: float) -> str:
    """Day and minute of a time since the epoch, on this computer's clock."""
    return time.strftime("%m-%d %H:%M", time.localtime(seconds))


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
