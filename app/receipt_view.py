"""The privacy receipt as HTML. Pure functions; names of hosts and files are escaped."""

import html
import time
from collections.abc import Sequence

from app.i18n import t
from app.models_view import size
from app.receipt import UNMARKED, Visit

MAX_ROWS, MAX_FILES = 100, 6


def receipt_html(visits: Sequence[Visit], started_at: float, language: str) -> str:
    """What was connected to since the start in one sentence, then the whole list. The newest visit comes first."""
    now = [visit for visit in visits if visit.ended_at >= started_at]
    others = sum(visit.what == UNMARKED for visit in now)
    key, count = "receipt_nothing", 0
    if others:
        key, count = "receipt_others", others
    elif now:
        key, count = "receipt_downloads", len({visit.what for visit in now})
    line = t(key, language, time=_time(started_at), count=count) if count else t(key, language, time=_time(started_at))
    mark = "failed" if others else "finished"
    return (
        f'<div class="receipt"><h2>{html.escape(t("receipt_title", language))}</h2>'
        f'<p class="verdict {mark}">{html.escape(line)}</p>{_table(visits, language)}'
        f'<p class="hint">{html.escape(t("receipt_how", language))}</p></div>'
    )


def _table(visits: Sequence[Visit], language: str) -> str:
    if not visits:
        return f'<p class="hint">{html.escape(t("receipt_empty", language))}</p>'
    names = ("receipt_when", "receipt_what", "receipt_host", "receipt_files", "receipt_bytes")
    head = "".join(f'<th scope="col">{html.escape(t(name, language))}</th>' for name in names)
    rows = "".join(_row(visit, language) for visit in visits[:MAX_ROWS])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(visit: Visit, language: str) -> str:
    what = t("receipt_unmarked", language) if visit.what == UNMARKED else visit.what
    more = f" +{len(visit.files) - MAX_FILES}" if len(visit.files) > MAX_FILES else ""
    cells = [
        f"{_time(visit.began_at)} ({max(visit.ended_at - visit.began_at, 0):.0f} s)",
        what,
        ", ".join(visit.hosts),
        ", ".join(visit.files[:MAX_FILES]) + more,
        size(visit.num_bytes) if visit.num_bytes else "",
    ]
    return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
