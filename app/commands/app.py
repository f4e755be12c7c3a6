"""Open the assistant in the browser. Ctrl-C ends it.

With --listen other machines can open it too, with a password: from --password-file, from ASTRAI_PASSWORD, or asked for
in the terminal. It is kept as a hash, and need not be given again.
"""

import sys
import webbrowser
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from app.listen_option import add_listen_options, opening
from core.folders import data_dir

if TYPE_CHECKING:
    from app.instance import TakenError

KEPT_HASH, SESSION_KEY = "password.json", "session.key"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=int, help="port to use; 0 takes any (default: 7860 or the next free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--model", type=Path, help="model or run folder to open first (default: the starter)")
    add_listen_options(parser)
    parser.add_argument("--password-file", type=Path, help="with --listen: file with the password, in one line")


def run(arguments: Namespace) -> int:
    from app.instance import TakenError, only_instance

    try:
        with only_instance(data_dir()):
            return serve(arguments)
    except TakenError as exc:
        return show_running(exc, opens_browser=not arguments.no_browser)


def serve(arguments: Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from app.password import choose_password

    opened = opening(arguments)
    password = choose_password(data_dir() / KEPT_HASH, arguments.password_file) if opened.is_open else None
    from app.server import serve_page

    return serve_page(
        port=arguments.port,
        opens_browser=not arguments.no_browser,
        model=arguments.model,
        opening=opened,
        password=password,
    )


def show_running(taken: "TakenError", *, opens_browser: bool) -> int:
    """Open the page that runs already. Raises `taken` when it does not answer."""
    if taken.running is None or not taken.running.answers():
        raise taken
    from app.guard import session_secret
    from app.login_links import VALID_S, login_token

    running = taken.running
    token = login_token(session_secret(data_dir() / SESSION_KEY), running.port)
    link = f"{running.address}login?token={token}"
    sys.stdout.write(f"{taken.message}\nThis opens it once, for {VALID_S:.0f} s: {link}\n")
    if opens_browser:
        webbrowser.open(link)
    return 0
