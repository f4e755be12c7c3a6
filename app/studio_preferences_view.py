"""Preferences as HTML: pairs to review, answers to rank, what the votes say. Pure functions; all texts are escaped."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.error_texts import sentence_text
from app.i18n import t
from app.preference_rows import MIN_VOTES, Answer, Counts, Pair, Review, Tally
from app.studio_parts import act_button

if TYPE_CHECKING:
    from app.preference_files import ImportReport
    from studio.improve import Readiness

PAGE_PAIRS = 20
MAX_SHOWN_CHARS = 1500
MAX_EDIT_CHARS = 20_000
MAX_PROBLEMS, MAX_PROBLEM_CHARS = 8, 300  # of rows of a file that are shown


def counts_html(counts: Counts, language: str) -> str:
    """What was collected so far."""
    new = counts.by_review[Review.NEW]
    text = t("pairs_counted", language, new=new, accepted=counts.num_accepted, all=counts.num_pairs)
    alone = counts.num_up_alone + counts.num_down_alone
    lone = f' <span class="hint">{t("thumbs_alone", language, count=alone)}</span>' if alone else ""
    return f"<p>{text}{lone}</p>"


def pair_files_html(language: str) -> str:
    """Where pairs leave as a file, and where one comes in; `studio.js` sends it."""
    chosen = html.escape(t("pairs_importing", language))
    return (
        f'<div class="pair-files" data-busy="{chosen}">'
        f'<a class="act" href="/studio/preferences.jsonl" download="preferences.jsonl" '
        f'title="{t("pairs_export_hint", language)}">{t("pairs_export", language)}</a>'
        f'<label class="act" title="{t("pairs_import_hint", language)}">{t("pairs_import", language)}'
        '<input type="file" accept=".jsonl,.json"></label><div class="import-report" role="status"></div></div>'
    )


def import_html(report: "ImportReport", name: str, language: str) -> str:
    """What became of the rows of a file."""
    added = t("pairs_imported", language, added=report.num_added, known=report.num_known, name=html.escape(name))
    opposite = t("pairs_opposite", language, count=report.num_opposite) if report.num_opposite else ""
    told = ((row, sentence_text(problem, language)) for row, problem in report.problems[:MAX_PROBLEMS])
    shown = [
        f"<li>{t('pairs_bad_row', language, row=row, problem=html.escape(problem[:MAX_PROBLEM_CHARS]))}</li>"
        for row, problem in told
    ]
    if report.num_bad > len(shown):
        shown.append(f"<li>{t('pairs_bad_more', language, count=report.num_bad - len(shown))}</li>")
    bad = f"<p>{t('pairs_bad', language, count=report.num_bad)}</p><ul>{''.join(shown)}</ul>" if shown else ""
    return f"<p>{' '.join(filter(None, (added, opposite)))}</p>{bad}"


def pairs_html(pairs: Sequence[Pair], language: str) -> str:
    """Pairs, each with what can be decided about it."""
    if not pairs:
        return f'<p class="empty">{t("no_pairs", language)}</p>'
    return f'<ol class="pairs">{"".join(_pair_html(pair, language) for pair in pairs)}</ol>'


def _pair_html(pair: Pair, language: str) -> str:
    done = {Review.KEPT: "keep", Review.REJECTED: "reject"}.get(pair.review)
    acts = [act for act in ("keep", "reject", "swap") if act != done]
    data: dict[str, object] = {"pair": pair.id}
    buttons = "".join(act_button(act, t(f"pair_{act}", language), data=data) for act in acts)
    buttons += act_button("delete", t("act_delete", language), sure=t("sure", language), data=data)
    sides = "".join(
        f'<div class="{name}"><b>{t(f"role_{name}", language)}</b><p>{_cut(answer.text)}</p></div>'
        for name, answer in (("chosen", pair.chosen), ("rejected", pair.rejected))
    )
    return (
        f'<li><p class="question"><span class="badge">{t(f"source_{pair.source}", language)}</span> '
        f'<span class="badge {pair.review}">{t(f"review_{pair.review}", language)}</span> {_cut(pair.question)}</p>'
        f'<div class="sides">{sides}</div>{_edit_html(pair, language)}<div class="acts">{buttons}</div></li>'
    )


def _edit_html(pair: Pair, language: str) -> str:
    fields = "".join(
        f'<textarea name="{name}" rows="4" maxlength="{MAX_EDIT_CHARS}" aria-label="{t(f"role_{name}", language)}">'
        f"{html.escape(answer.text)}</textarea>"
        for name, answer in (("chosen", pair.chosen), ("rejected", pair.rejected))
    )
    save = act_button("edit", t("pair_save", language), data={"pair": pair.id})
    return (
        f'<details data-name="edit-{pair.id}" data-form><summary>{t("pair_edit", language)}</summary>'
        f'<div class="sides">{fields}</div>{save}</details>'
    )


def _cut(text: str) -> str:
    more = " …" if len(text) > MAX_SHOWN_CHARS else ""
    return html.escape(text[:MAX_SHOWN_CHARS]) + more


def readiness_html(readiness: "Readiness", language: str) -> str:
    """Whether there are pairs enough."""
    key = "pairs_enough" if not readiness.num_missing else "pairs_few"
    text = t(key, language, count=readiness.num_pairs, enough=readiness.enough)
    done = min(readiness.num_pairs, readiness.enough)
    return f'<progress value="{done}" max="{readiness.enough}"></progress><p class="hint">{text}</p>'


def ranking_html(answers: Sequence[Answer], language: str) -> str:
    """Answers in the order of the user, the best first."""
    items = "".join(
        f'<li><div class="acts">{_arrows(place, len(answers), language)}</div><p>{_cut(answer.text) or "∅"}</p></li>'
        for place, answer in enumerate(answers)
    )
    return f'<ol class="ranking">{items}</ol>' if items else ""


def _arrows(place: int, count: int, language: str) -> str:
    ends = (("up", "↑", place == 0), ("down", "↓", place == count - 1))
    return "".join(
        act_button(act, sign, title=t(f"rank_{act}", language), is_off=is_off, data={"place": place})
        for act, sign, is_off in ends
    )


def no_contest_html(language: str) -> str:
    """That there is nothing to compare yet, and what would make it."""
    return f'<p class="hint">{t("ab_none", language)}</p>'


def contest_html(new: str, old: str, tally: Tally, language: str) -> str:
    """Which versions are compared, and what the votes say."""
    head = f"<p>{t('ab_versions', language, new=html.escape(new), old=html.escape(old))}</p>"
    if not tally.num_votes:
        return f'{head}<p class="hint">{t("ab_no_votes", language)}</p>'
    low, high = tally.interval
    counted = t("ab_votes", language, new=tally.num_new, old=tally.num_old, ties=tally.num_ties, count=tally.num_votes)
    share = t("ab_share", language, share=f"{tally.share:.0%}", low=f"{low:.0%}", high=f"{high:.0%}")
    if not tally.is_telling:
        verdict = t("ab_too_few", language, count=MIN_VOTES)
    else:
        verdict = t({"new": "ab_new_wins", "old": "ab_old_wins", None: "ab_open"}[tally.winner], language)
    bar = (
        f'<div class="share" role="img" aria-label="{share}"><i style="left:{low:.1%};width:{high - low:.1%}"></i>'
        f'<b style="left:{tally.share:.1%}"></b></div>'
    )
    return f'{head}<p>{counted}</p>{bar}<p>{share}</p><p class="limit">{verdict}</p>'
