"""The context of an answer as the page shows it: the line and the meter below the chat, and what the model saw.

Pure functions of the record that `app.seen` makes. Everything in it is foreign text, and is escaped here.
"""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.format import quantization_name
from app.i18n import t
from app.passages import PASSAGE_PATH

NEARLY_FULL = 0.75  # of the context, from where on the oldest turns make room for the answer
REASONS = {"cancelled": "stopped", "length": "cut"}


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer has taken of the context by now, and the turns that the model was not given."""

    tokens_per_s: float
    first_s: float
    completion_tokens: int
    context_tokens: int
    max_seq_len: int
    num_dropped: int = 0
    first_dropped: str = ""
    last_dropped: str = ""
    finish_reason: str | None = None
    supported: tuple[int, int] | None = None  # sentences with a source, of all

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> "Usage | None":
        """Out of a record; None where it is another's."""
        stats, dropped, supported = (details.get(name) for name in ("stats", "dropped", "supported"))
        try:
            return cls(
                float(stats["tokens_per_s"]),  # type: ignore[index]
                float(stats["time_to_first_token_s"]),  # type: ignore[index]
                int(stats["completion_tokens"]),  # type: ignore[index]
                int(stats["context_tokens"]),  # type: ignore[index]
                max(int(stats["max_seq_len"]), 1),  # type: ignore[index]
                int(details.get("num_dropped", 0)),
                str(dropped[0]["content"]) if dropped else "",
                str(dropped[-1]["content"]) if dropped else "",
                details.get("finish_reason"),
                (int(supported[0]), int(supported[1])) if supported else None,
            )
        except (KeyError, TypeError, ValueError):
            return None


def usage_line(usage: Usage, language: str) -> str:
    """Speed, time to the first token, tokens used, and why the answer ended early. Plain text."""
    line = t(
        "stats", language, speed=usage.tokens_per_s, first=usage.first_s, count=usage.completion_tokens,
        context=usage.context_tokens, limit=usage.max_seq_len,
    )  # fmt: skip
    is_full = usage.context_tokens >= usage.max_seq_len
    reason = "full" if usage.finish_reason == "length" and is_full else REASONS.get(usage.finish_reason or "")
    parts = [line, t(reason, language) if reason else ""]
    if usage.supported is not None:
        count, total = usage.supported
        parts.append(t("supported", language, count=count, total=total))
    return " · ".join(filter(None, parts))


def usage_html(usage: Usage, language: str) -> str:
    """The line with the meter, and below it which turns the model was not given."""
    share = min(usage.context_tokens / usage.max_seq_len, 1)
    state = "full" if share >= 1 else "nearly" if share > NEARLY_FULL else ""
    said = t("meter", language, share=share)
    line = html.escape(usage_line(usage, language))
    meter = (
        f'<span class="meter {state}" role="meter" aria-valuemin="0" aria-valuemax="{usage.max_seq_len}"'
        f' aria-valuenow="{min(usage.context_tokens, usage.max_seq_len)}" aria-label="{said}" title="{said}">'
        f'<i style="width:{share:.1%}"></i></span>'
    )
    return f'<span class="usage">{meter}<span>{line}</span></span>{dropped_html(usage, language)}'


def dropped_html(usage: Usage, language: str) -> str:
    """The notice of turns that were left out; nothing where none was."""
    if not usage.num_dropped:
        return ""
    first, last = (html.escape(_words(text)) for text in (usage.first_dropped, usage.last_dropped))
    key = "dropped_one" if usage.num_dropped == 1 else "dropped_turns"
    text = t(key, language, count=usage.num_dropped, first=first, last=last)
    return f'<span class="left-out" role="status">{text}</span>'


def seen_html(details: Mapping[str, Any], language: str) -> str:
    """What the model saw, for the dialog."""
    usage = Usage.of(details)
    prompt = str(details.get("prompt", ""))
    whole = int(details.get("prompt_chars", len(prompt)))
    parts = [f"<h2>{t('seen_title', language)}</h2>"]
    if usage is not None:
        parts.append(f'<p class="where">{html.escape(usage_line(usage, language))}</p>')
        parts.append(dropped_html(usage, language))
    parts.append(_model_html(details, language))
    parts.append(
        _section("seen_prompt", language, f'<pre tabindex="0">{html.escape(prompt)}</pre>', count=f"{whole:,}")
    )
    if passages := _rows(details.get("passages")):
        items = "".join(_passage_html(row, language) for row in passages)
        parts.append(_section("seen_passages", language, f"<ol>{items}</ol>", count=len(passages)))
    if dropped := _rows(details.get("dropped")):
        items = "".join(
            f"<li><b>{html.escape(str(row.get('role', '')))}</b> {html.escape(str(row.get('content', '')))}</li>"
            for row in dropped
        )
        number = usage.num_dropped if usage else len(dropped)
        parts.append(_section("seen_dropped", language, f"<ul>{items}</ul>", count=number))
    return "".join(parts)


def _model_html(details: Mapping[str, Any], language: str) -> str:
    sampling = details.get("sampling")
    values = sampling if isinstance(sampling, dict) else {}
    quantization = quantization_name(str(details.get("quantization", "")), language)
    given = (
        ("model", " · ".join(filter(None, (str(details.get("model", "")), quantization)))),
        ("seen_version", details.get("version") or t("version_base", language)),
        ("seen_fingerprint", details.get("fingerprint", "")),
        ("seen_sampling", ", ".join(f"{name} {value}" for name, value in values.items())),
    )
    rows = "".join(
        f"<tr><th>{t(key, language)}</th><td>{html.escape(str(value))}</td></tr>" for key, value in given if value
    )
    return f"<table>{rows}</table>"


def _passage_html(row: Mapping[str, Any], language: str) -> str:
    address, page = str(row.get("address", "")), row.get("page")
    name = html.escape(str(row.get("name", "")))
    is_own = address.startswith(PASSAGE_PATH) and address.isascii()
    link = f'<a href="{html.escape(address, quote=True)}">{name}</a>' if is_own else f"<b>{name}</b>"
    where = f" · {t('page', language, page=html.escape(str(page)))}" if page else ""
    return f"<li>{link}{where}<p>{html.escape(str(row.get('text', '')))}</p></li>"


def _section(key: str, language: str, body: str, **values: object) -> str:
    return f"<details open><summary>{t(key, language, **values)}</summary>{body}</details>"


def _rows(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _words(text: str, most: int = 40) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most].rstrip()}…"
