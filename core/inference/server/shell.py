"""What stands around the routes: every refusal in OpenAI's form, and every response counted."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import AssistantError
from core.inference.openai_error import RequestError, as_request_error
from core.inference.server.metrics import Metrics

RETRY_AFTER_S = 2
CLIENT_GONE = 499  # nginx's number; nobody reads it


def answer_errors_in_openai_shape(app: Starlette) -> None:
    """Give every refusal OpenAI's form. Starlette raises what nobody foresaw once more, for the server's log."""

    async def refuse(_: Request, error: Exception) -> Response:
        refusal = as_request_error(error)
        headers = {"retry-after": str(RETRY_AFTER_S)} if refusal.status in (429, 503) else None
        return JSONResponse(refusal.body, refusal.status, headers)

    async def refuse_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path[:200]
        refusal = RequestError(f"{request.method} {path}: {error.detail}.", status=error.status_code)
        return JSONResponse(refusal.body, refusal.status, error.headers)

    async def forget(_: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_GONE)

    for kind in (RequestError, AssistantError, Exception):
        app.add_exception_handler(kind, refuse)
    app.add_exception_handler(HTTPException, refuse_route)
    app.add_exception_handler(ClientDisconnect, forget)


class Counted:
    """Counts the responses of `app` by method, route and status. Routes that are not ours count as one."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: frozenset[str]) -> None:
        self._app, self._metrics, self._routes = app, metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.add(1, *self._labels(scope), str(message["status"]))
            await send(message)

        await self._app(scope, receive, counting)

    def _labels(self, scope: Scope) -> tuple[str, str]:
        """A client's own words never become labels: they would grow without bound."""
        method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD", "OPTIONS") else "other"
        path: str = scope["path"]
        if path not in self._routes:
            path = "/v1/models/{name}" if path.startswith("/v1/models/") else "other"
        return method, path
