"""OpenAI's HTTP interface to one model. `CompletionServer(...).app` is an ASGI application."""

from core.inference.server.routes import CompletionServer

__all__ = ["CompletionServer"]
