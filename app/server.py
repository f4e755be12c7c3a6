"""The web server of the page: our routes, Gradio's page behind them, the guard around all.

Beside the page, below /v1, programs find the same OpenAI interface as at `serve`, with the model that is chosen on
the page. Its door is another one: it asks for the key, not for the browser's cookie.
"""

import os
import socket
import sys
import webbrowser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app import garbage
from app.early_script import EarlyScript
from app.guard import Guard, KeyGuard, session_secret
from app.instance import announce
from app.listen_option import THIS_MACHINE, Opening
from app.loopback import HOST, listen
from app.models import ModelHolder, ModelState
from app.own_address import origin_of
from app.password import PasswordHash
from app.services import Services, build_services
from app.web_server import web_config
from core.folders import data_dir

if TYPE_CHECKING:
    from core.inference.generator import LanguageModel
    from core.inference.server import CompletionServer

PORTS = range(7860, 7880)
API_PREFIX, KEY_FILE = "/v1/", "api.key"
OPENED = "everything here: the chats, the documents, the models, the training"


def serve_page(
    *,
    port: int | None,
    opens_browser: bool,
    model: Path | None,
    opening: Opening = THIS_MACHINE,
    password: PasswordHash | None = None,
) -> int:
    """Serve the page until Ctrl-C. `port` None takes the default or the next free one; 0 any."""
    assert not opening.is_open or password is not None
    garbage.pause()  # until the page is there
    os.umask(0o077)  # what is written, by jobs and libraries too, is the user's alone
    # Read when gradio is imported; the folder that it takes by itself is shared by all users.
    os.environ["GRADIO_TEMP_DIR"] = str(data_dir() / "cache")
    listener = listen(port, PORTS, opening.host)
    bound = int(listener.getsockname()[1])
    if port is None and bound != PORTS.start:
        sys.stdout.write(f"Port {PORTS.start} is taken, using {bound}.\n")
    announce(data_dir(), bound)
    services = build_services(model)
    services.receipt.watch()
    doors = build_doors(services, port=bound, names=opening.names, password=password)
    config = web_config(doors, has_proxy=opening.has_proxy, log_level="warning", lifespan="on", ws="none")
    notice = opening.sentence(bound, opens=OPENED, needs="password") if opening.is_open else ""
    address = f"{origin_of(opening.own_host, bound)}{doors.page.login_path}"
    _PageServer(config, address, doors.api, opens_browser=opens_browser, notice=notice).run(sockets=[listener])
    services.downloads.close()
    services.library.close()
    services.conversations.close()
    return 0


def build_doors(
    services: Services, *, port: int, names: tuple[str, ...] = (), password: PasswordHash | None = None
) -> "Doors":
    """Everything that is served, behind its guards."""
    page = Guard(
        EarlyScript(_build_app(services, port)),
        port=port,
        secret=session_secret(data_dir() / "session.key"),
        names=names,
        password=password,
    )
    return Doors(page=page, api=Api(services, port=port, key=session_secret(data_dir() / KEY_FILE), names=names))


def _build_app(services: Services, port: int) -> FastAPI:
    from app.archive_routes import archive_routes
    from app.chat_routes import chat_routes
    from app.conversation_routes import conversation_routes
    from app.library_routes import library_routes
    from app.model_routes import model_routes
    from app.preference_routes import preference_routes
    from app.studio_routes import studio_routes
    from app.ui import mount_page

    app = FastAPI(title="AstrAI", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "model": services.models.state.value}

    app.include_router(conversation_routes(services.conversations))
    app.include_router(chat_routes(services.conversations, services.attachments))
    app.include_router(archive_routes(services.backup))
    app.include_router(model_routes(services.board.uploads))
    app.include_router(library_routes(services.library))
    app.include_router(studio_routes(services.studio))
    app.include_router(preference_routes(services.preferences))
    return mount_page(app, services, host=HOST, port=port)


def _model_for_programs(models: ModelHolder) -> "LanguageModel":
    """The model of the page. The first one begins to load if nobody has opened the page yet."""
    if models.state == ModelState.EMPTY and (choices := models.choices()):
        models.select(choices[0])
    models.wake()
    return models.model()


class Doors:
    """Sends programs to the API and all others to the page."""

    def __init__(self, *, page: Guard, api: "Api") -> None:
        self.page, self.api = page, api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_api = scope["type"] == "http" and scope["path"].startswith(API_PREFIX)
        await (self.api if is_api else self.page)(scope, receive, send)


class Api:
    """The interface for programs behind its guard, imported when the first program asks: the page comes first."""

    def __init__(self, services: Services, *, port: int, key: str, names: tuple[str, ...] = ()) -> None:
        self._services, self._port, self._key, self._names = services, port, key, names
        self._completions: CompletionServer | None = None
        self._guard: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._guard is None:
            from core.inference.server import CompletionServer

            model = partial(_model_for_programs, self._services.models)
            library = self._services.library
            self._completions = CompletionServer(
                model, answers=self._services.documents, embedder=library.served_embedder()
            )
            self._guard = KeyGuard(self._completions.app, port=self._port, key=self._key, names=self._names)
        await self._guard(scope, receive, send)

    def close(self) -> None:
        """End open answers. Call it on the event loop."""
        if self._completions is not None:
            self._completions.close()


class _PageServer(uvicorn.Server):
    """Says its address once it accepts connections, and ends open answers of programs when it is told to stop."""

    def __init__(self, config: uvicorn.Config, address: str, api: Api, *, opens_browser: bool, notice: str) -> None:
        super().__init__(config)
        self._address, self._api, self._opens_browser, self._notice = address, api, opens_browser, notice

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._api.close()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        garbage.set_aside()
        sys.stdout.write(f"AstrAI is at {self._address}\nOpen it if the browser did not. Ctrl-C ends it.\n")
        sys.stdout.write(
            f"Programs find OpenAI's interface below {API_PREFIX}; the key is in {data_dir() / KEY_FILE}.\n"
        )
        sys.stdout.write(self._notice)
        sys.stdout.flush()
        if self._opens_browser:
            webbrowser.open(self._address)
