"""Open the assistant in the browser. Ctrl-C ends it."""

import sys
import webbrowser
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.instance import TakenError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=int, help="port to use; 0 takes any (default: 7860 or the next free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--model", type=Path, help="model or run folder to open first (default: the starter)")


def run(arguments: Namespace) -> int:
    from app.instance import TakenError, only_instance
    from core.folders import data_dir

    try:
        with only_instance(data_dir()):
            return serve(arguments)
    except TakenError as exc:
        return show_running(exc, opens_browser=not arguments.no_browser)


def serve(arguments: Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from app.server import serve_page

    return serve_page(port=arguments.port, opens_browser=not arguments.no_browser, model=arguments.model)


def show_running(taken: "TakenError", *, opens_browser: bool) -> int:
    """Open the page that runs already. Raises `taken` when it does not answer."""
    if taken.running is None or not taken.running.answers():
        raise taken
    sys.stdout.write(f"{taken.message} ")
    if not opens_browser:
        sys.stdout.write("\n")
        return 0
    sys.stdout.write("It is opened in the browser; one that has never been there asks for the link of that start.\n")
    webbrowser.open(taken.running.address)
    return 0
