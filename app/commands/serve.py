"""Answer OpenAI-style requests on this machine: chat, text, embeddings, models; /health and /metrics.

It prints two lines to paste into the shell of the program that asks. Only programs of this machine that show
the key get in; with --listen those of other machines, too. The key is made once and kept in the data folder, or is
yours: ASTRAI_API_KEY, or --api-key-file, and then it is not printed. Ctrl-C ends it.
"""

import os
import socket
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.model_option import add_model_options, describe, open_model
from app.listen_option import add_listen_options, opening
from app.loopback import listen
from core.errors import ConfigError
from core.folders import data_dir

if TYPE_CHECKING:
    import uvicorn

    from app.guard import KeyGuard
    from core.inference.server import CompletionServer

PORTS = range(8000, 8020)
MAX_OPEN, MOST_OPEN = 64, 1024
KEY_VARIABLE = "ASTRAI_API_KEY"
MIN_KEY_CHARS = 16


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=int, help="port to use; 0 takes any (default: 8000 or the next free one)")
    parser.add_argument(
        "--adapter", action="append", default=[], metavar="RUN",
        help="run (id or folder) of an adapter of the model, a model id of its own beside it; NAME=RUN names it"
        " (may be given again)",
    )  # fmt: skip
    parser.add_argument("--api-key-file", type=Path, help=f"file with the key to ask for (or set {KEY_VARIABLE})")
    parser.add_argument(
        "--max-open", type=int, default=MAX_OPEN, help=f"answers under way or waiting at once (default {MAX_OPEN})"
    )
    add_listen_options(parser)
    add_model_options(parser)


def run(arguments: Namespace) -> int:
    if not 1 <= arguments.max_open <= MOST_OPEN:
        raise ConfigError(f"--max-open {arguments.max_open} is outside 1 … {MOST_OPEN}.", "Give a number in between.")
    own_key, adapters = given_key(arguments.api_key_file), given_adapters(arguments.adapter)
    opened = opening(arguments)
    listener = listen(arguments.port, PORTS, opened.host)
    os.umask(0o077)  # what is written is the user's alone
    with listener:
        from app.answers import DocumentAnswers
        from app.guard import KeyGuard, session_secret
        from app.library import Library
        from app.own_address import origin_of
        from app.paths import library_dir
        from app.server import KEY_FILE
        from core.inference.server import CompletionServer

        model = open_model(arguments, adapters)
        port, key = int(listener.getsockname()[1]), own_key or session_secret(data_dir() / KEY_FILE)
        library = Library(library_dir(), follows=False)
        documents, embedder = DocumentAnswers(library, lambda: model), library.served_embedder()
        completions = CompletionServer(lambda: model, answers=documents, embedder=embedder, max_open=arguments.max_open)
        print(f"{describe(model)}. Ctrl-C ends it.")
        if adapters:
            print(f"Model ids: {', '.join([model.name, *(f'{model.name}:{name}' for name in adapters)])}")
        print(setting("OPENAI_BASE_URL", f"{origin_of(opened.own_host, port)}/v1"), flush=True)
        if own_key is None:
            print(setting("OPENAI_API_KEY", key), flush=True)
        if opened.is_open:
            print(opened.sentence(port, opens="the model and the documents", needs="key"), end="", flush=True)
        guard = KeyGuard(completions.app, port=port, key=key, names=opened.names)
        build_server(completions, guard, has_proxy=opened.has_proxy).run(sockets=[listener])
    return 0


def given_key(path: Path | None) -> str | None:
    """The user's own key, or None where there is none. Raises ConfigError when it is too short or not readable."""
    source = f"the file {path}" if path else KEY_VARIABLE
    try:
        key = (path.read_text(encoding="utf-8") if path else os.environ.get(KEY_VARIABLE, "")).strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"The key cannot be read from {source}: {exc}.", "Give a file that holds the key.") from exc
    if not key and path is None:
        return None
    if len(key) < MIN_KEY_CHARS or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"The key in {source} has {len(key)} characters.",
            f"Give at least {MIN_KEY_CHARS}, letters and digits.",
        )
    return key


def given_adapters(words: list[str]) -> dict[str, Path]:
    """Folders of adapters by name. Raises: TrainingError for a run that is not there, ConfigError for a name twice."""
    found: dict[str, Path] = {}
    for word in words:
        name, _, run = word.rpartition("=")
        if Path(run).exists():
            place = Path(run)
        else:
            from app.commands.run_argument import find_run, open_store

            place = find_run(open_store(), run).folder
        name = name or place.absolute().name
        if name in found:
            raise ConfigError(f"Two adapters are called {name}.", "Name one of them: --adapter NAME=RUN.")
        found[name] = place
    return found


def setting(name: str, value: str) -> str:
    """A line for the shell that sets an environment variable."""
    return f'$env:{name} = "{value}"' if os.name == "nt" else f"export {name}={value}"


def build_server(completions: "CompletionServer", guard: "KeyGuard", *, has_proxy: bool = False) -> "uvicorn.Server":
    """The web server, which ends open answers when it is told to stop."""
    import uvicorn

    from app.web_server import web_config

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            completions.close()
            await super().shutdown(sockets)

    return Server(web_config(guard, has_proxy=has_proxy, log_config=None, lifespan="off", ws="none"))
