"""A refusal, as OpenAI's clients read it: an HTTP status and an error object.

Source: https://platform.openai.com/docs/guides/error-codes.
"""

from core.errors import AssistantError, BusyError, ConfigError, ContextLengthError, ModelError, SetupError

INVALID_REQUEST, SERVER_ERROR, RATE_LIMIT = "invalid_request_error", "server_error", "rate_limit_error"


class RequestError(Exception):
    """A request that is refused: the HTTP status and OpenAI's error object."""

    def __init__(
        self, message: str, *, status: int = 400, kind: str = INVALID_REQUEST, param: str | None = None,
        code: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def as_request_error(error: Exception) -> RequestError:
    """Any failure as one the client may see; what nobody foresaw keeps its details for the server's log."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, BusyError):
        return RequestError(str(error), status=429, kind=RATE_LIMIT, code="queue_full")
    if isinstance(error, ModelError):
        return RequestError(str(error), status=500, kind=SERVER_ERROR, code="model_error")
    if isinstance(error, SetupError):
        return not_available(str(error))
    if isinstance(error, AssistantError):
        return RequestError(str(error))
    return RequestError("The server failed; its log tells more.", status=500, kind=SERVER_ERROR, code="internal_error")


def as_start_error(error: AssistantError) -> RequestError:
    """Why a generation could not begin. The form was checked before: length, a bad option, the chat template's no."""
    if isinstance(error, BusyError | SetupError):
        return as_request_error(error)
    if isinstance(error, ContextLengthError):
        return RequestError(str(error), code="context_length_exceeded")
    code = "invalid_value" if isinstance(error, ConfigError) else None
    return RequestError(str(error), code=code)


def not_available(message: str) -> RequestError:
    """What this server runs without."""
    return RequestError(message, status=501, kind=SERVER_ERROR, code="not_available")
