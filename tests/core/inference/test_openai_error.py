"""Which status and code the client gets for each kind of failure."""

import pytest

from core.errors import (
    AssistantError,
    BusyError,
    ConfigError,
    ContextLengthError,
    DataError,
    GenerationError,
    ModelError,
    SetupError,
)
from core.inference.openai_error import RequestError, as_request_error, as_start_error


@pytest.mark.parametrize(
    ("error", "while_starting", "status", "code"),
    [
        (BusyError("Full.", "Wait."), True, 429, "queue_full"),
        (BusyError("Full.", "Wait."), False, 429, "queue_full"),
        (ContextLengthError("9 of 8.", "Shorten."), True, 400, "context_length_exceeded"),
        (GenerationError("Bad schema.", "Mend it."), True, 400, None),
        (GenerationError("No token.", "Mend it."), False, 400, None),
        (ConfigError("Bad.", "Mend it."), True, 400, "invalid_value"),
        (ModelError("Roles alternate.", "Mend it."), True, 400, None),
        (ModelError("Not finite.", "Load again."), False, 500, "model_error"),
        (DataError("No collection.", "Choose."), True, 400, None),
        (SetupError("No llguidance.", "Install it."), True, 501, "not_available"),
        (SetupError("No llguidance.", "Install it."), False, 501, "not_available"),
    ],
    ids=str,
)
def test_a_failure_keeps_its_words_and_gets_a_status(
    error: AssistantError, while_starting: bool, status: int, code: str | None
) -> None:
    refusal = {True: as_start_error, False: as_request_error}[while_starting](error)
    assert (refusal.status, refusal.body["error"]["code"]) == (status, code)
    assert refusal.body["error"]["message"] == str(error)


def test_what_nobody_foresaw_is_told_without_details() -> None:
    refusal = as_request_error(KeyError("secret"))
    assert refusal.status == 500
    assert "secret" not in str(refusal.body)


def test_a_refusal_stays_as_it_is() -> None:
    refusal = RequestError("No.", status=418)
    assert as_request_error(refusal) is refusal
