"""Open the assistant in the browser. Ctrl-C ends it."""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=int, help="port to use; 0 takes any (default: 7860 or the next free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--model", type=Path, help="model or run folder to open first (default: the starter)")


def run(arguments: Namespace) -> int:
    from app.server import serve_page

    return serve_page(port=arguments.port, opens_browser=not arguments.no_browser, model=arguments.model)
