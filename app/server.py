"""The web server of the page: our routes, Gradio's page behind them, the guard around all."""

import os
import socket
import sys
import webbrowser
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from app.guard import Guard, session_secret
from app.loopback import HOST, listen
from app.services import Services, build_services
from app.web_server import web_config
from core.folders import data_dir

PORTS = range(7860, 7880)


def serve_page(*, port: int | None, opens_browser: bool, model: Path | None) -> int:
    """Serve the page until Ctrl-C. `port` None takes the default or the next free one; 0 any."""
    # Read when gradio is imported; the folder that it takes by itself is shared by all users.
    os.environ["GRADIO_TEMP_DIR"] = str(data_dir() / "cache")
    listener = listen(port, PORTS)
    bound = int(listener.getsockname()[1])
    if port is None and bound != PORTS.start:
        sys.stdout.write(f"Port {PORTS.start} is taken, using {bound}.\n")
    services = build_services(model)
    guard = Guard(_build_app(services, bound), port=bound, secret=session_secret(data_dir() / "session.key"))
    config = web_config(guard, log_level="warning", lifespan="on")
    server = _AnnouncingServer(config, f"http://{HOST}:{bound}{guard.login_path}", opens_browser=opens_browser)
    server.run(sockets=[listener])
    return 0


def _build_app(services: Services, port: int) -> FastAPI:
    from app.ui import mount_page

    app = FastAPI(title="AstrAI", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "model": services.models.state.value}

    return mount_page(app, services, host=HOST, port=port)


class _AnnouncingServer(uvicorn.Server):
    """Says its address once it accepts connections."""

    def __init__(self, config: uvicorn.Config, address: str, *, opens_browser: bool) -> None:
        super().__init__(config)
        self._address, self._opens_browser = address, opens_browser

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(f"AstrAI is at {self._address}\nOpen it if the browser did not. Ctrl-C ends it.\n")
        sys.stdout.flush()
        if self._opens_browser:
            webbrowser.open(self._address)
