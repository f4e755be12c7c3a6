"""Answer OpenAI-style requests on this machine: /v1/models, /v1/chat/completions, /v1/completions.

It prints two lines to paste into the shell of the program that asks. Only programs of this machine that show
the key get in. Ctrl-C ends it.
"""

import os
import socket
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from app.commands.model_option import add_model_options, describe, open_model
from app.loopback import HOST, listen
from core.folders import data_dir

if TYPE_CHECKING:
    import uvicorn

    from app.guard import KeyGuard
    from core.inference.server import CompletionServer

PORTS = range(8000, 8020)
KEY_FILE = "api.key"
GRACE_S = 1


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=int, help="port to use; 0 takes any (default: 8000 or the next free one)")
    add_model_options(parser)


def run(arguments: Namespace) -> int:
    listener = listen(arguments.port, PORTS)
    with listener:
        from app.guard import KeyGuard, session_secret
        from core.inference.server import CompletionServer

        model = open_model(arguments)
        port, key = int(listener.getsockname()[1]), session_secret(data_dir() / KEY_FILE)
        completions = CompletionServer(model)
        print(f"{describe(model)}. Ctrl-C ends it.")
        print(f"{setting('OPENAI_BASE_URL', f'http://{HOST}:{port}/v1')}\n{setting('OPENAI_API_KEY', key)}", flush=True)
        build_server(completions, KeyGuard(completions.app, port=port, key=key)).run(sockets=[listener])
    return 0


def setting(name: str, value: str) -> str:
    """A line for the shell that sets an environment variable."""
    return f'$env:{name} = "{value}"' if os.name == "nt" else f"export {name}={value}"


def build_server(completions: "CompletionServer", guard: "KeyGuard") -> "uvicorn.Server":
    """The web server, which ends open answers when it is told to stop."""
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            completions.close()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        guard,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=GRACE_S,
    )
    return Server(config)
