"""The routes that the guard lets through, each with its methods, its body and its policy. All others are closed.

Gradio has many more: some read files, some make the server fetch an address. A route that is not written here does not
exist for the browser, whoever adds it; a test holds the routes of the program against this table.
"""

import re
from dataclasses import dataclass

from app.archive import MAX_ARCHIVE_BYTES
from app.attachments import MAX_FILE_BYTES
from app.conversation_files import MAX_FILE_BYTES as MAX_CONVERSATIONS_BYTES
from app.dropped_files import MAX_COPIED_BYTES
from app.guard_headers import PAGE_POLICY, STRICT_POLICY


@dataclass(frozen=True, slots=True)
class Body:
    """What a request may carry. A form of another site cannot have these types without the browser asking first."""

    media_type: str
    max_bytes: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Way:
    """Paths that pass. A way without a body takes none."""

    pattern: re.Pattern[str]
    methods: tuple[str, ...]
    body: Body | None
    policy: str


JSON_BODY = Body("application/json", 8 * 2**20, 30)
FILE_BODY = Body("application/octet-stream", MAX_COPIED_BYTES, 600)
ATTACHED_BODY = Body("application/octet-stream", MAX_FILE_BYTES, 120)
CONVERSATIONS_BODY = Body("application/octet-stream", MAX_CONVERSATIONS_BYTES, 120)
ARCHIVE_BODY = Body("application/octet-stream", MAX_ARCHIVE_BYTES, 3600)
PASSWORD_BODY = Body("application/x-www-form-urlencoded", 4096, 10)
LOGIN_PATH = "/login"


def _way(pattern: str, *, method: str = "GET", body: Body | None = None, policy: str = STRICT_POLICY) -> Way:
    return Way(re.compile(pattern), (method, "HEAD") if method == "GET" else (method,), body, policy)


ALLOWED = (
    _way(r"/health"),
    _way(LOGIN_PATH),
    _way(LOGIN_PATH, method="POST", body=PASSWORD_BODY),
    # Gradio's page, and what it asks for
    _way(r"/(config|theme\.css|favicon\.ico|manifest\.json)?", policy=PAGE_POLICY),
    _way(r"/(assets|static|svelte)/(?!.*\.\.)[\w./@-]+", policy=PAGE_POLICY),
    _way(r"/gradio_api/(queue/data|startup-events|app_id|heartbeat/\w+)", policy=PAGE_POLICY),
    _way(r"/gradio_api/(queue/join|run/predict|cancel|reset)", method="POST", body=JSON_BODY, policy=PAGE_POLICY),
    # ours
    _way(r"/chat/seen/(temporary-)?[0-9a-f]{16}/\d+"),
    _way(r"/chat/files/[a-z0-9]+", method="POST", body=ATTACHED_BODY),
    _way(r"/library/passage/\d+/\d+/\d+"),
    _way(r"/library/page/\d+/\d+/\d+/\d+\.png"),
    _way(r"/library/files/[a-z0-9]+", method="POST", body=FILE_BODY),
    _way(r"/conversations/(all\.json|(temporary-)?[0-9a-f]{16}\.(md|json|jsonl))"),
    _way(r"/conversations/import", method="POST", body=CONVERSATIONS_BODY),
    _way(r"/archive/backup\.zip"),
    _way(r"/archive/restore", method="POST", body=ARCHIVE_BODY),
    _way(r"/studio/runs(/[a-z0-9_-]+(/(metrics|answers))?)?"),
    _way(r"/studio/files/[a-z0-9]+", method="POST", body=FILE_BODY),
    _way(r"/studio/preferences\.jsonl"),
    _way(r"/studio/preferences", method="POST", body=FILE_BODY),
)


def ways_of(path: str) -> list[Way]:
    """The ways that a path may be asked; none for a route that is closed."""
    return [way for way in ALLOWED if way.pattern.fullmatch(path)]
