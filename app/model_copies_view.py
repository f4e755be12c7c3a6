"""The jobs that write copies of models, as the models page shows them. Pure functions; all texts are escaped."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.i18n import t
from app.studio_parts import act_button
from app.studio_runs_view import failure_html, state_html

if TYPE_CHECKING:
    from studio import Job


def copies_html(jobs: "Sequence[Job]", language: str) -> str:
    """Each with its state, what can be done with it, and where the copy lies or why there is none."""
    rows = "".join(_row(job, language) for job in jobs)
    return f'<div class="copies">{rows}</div>' if rows else ""


def _row(job: "Job", language: str) -> str:
    name, acts, more = html.escape(job.name or job.id), "", ""
    if not job.state.is_ended:
        act = "cancel" if job.state == "queued" else "stop"
        acts = act_button(act, t("get_cancel", language), data={"run": job.id})
        more = "<progress></progress>"
    elif job.state == "finished":
        written = next((one for one in job.spec.arguments if one.startswith("{run}")), "{run}")
        place = html.escape(written.replace("{run}", str(job.folder)))
        more = f'<p class="meta">{t("copy_place", language)} <code>{place}</code></p>'
    elif job.state in ("failed", "interrupted"):
        more = failure_html(job, language)
    return (
        f'<div class="card row {job.state}" data-run="{html.escape(job.id)}"><div class="title"><b>{name}</b>'
        f"{state_html(job, language)}{acts}</div>{more}</div>"
    )
