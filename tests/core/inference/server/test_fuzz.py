"""Schemathesis drives the server by its own OpenAPI document: no 5xx, and nothing that the document does not say."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from core.inference.server import CompletionServer
from core.inference.server.openapi import document
from tests.core.inference.server.fake_model import FakeModel, serving
from tests.core.inference.server.library import FakeEmbedder, FakeLibrary
from tests.figures import Figure

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
DOCUMENT = document([FakeModel.name, FakeEmbedder.name])
SCHEMA = schemathesis.openapi.from_dict({**DOCUMENT, "security": []})  # the key is the guard's
FEW = settings(
    max_examples=1,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
REPLY_S = 60  # on a machine that does other things too
MANY = settings(FEW, max_examples=2600)  # four operations take parameters


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    model = cast(Any, FakeModel("a", "b 你"))
    with serving(CompletionServer(lambda: model, answers=FakeLibrary(), embedder=FakeEmbedder()).app) as address:
        yield address


@SCHEMA.parametrize()
@FEW
def test_no_request_breaks_the_server_or_its_document(case: schemathesis.Case, address: str) -> None:
    case.call_and_validate(base_url=address, checks=CHECKS)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
@SCHEMA.parametrize()
@MANY
def test_ten_thousand_requests_break_neither(case: schemathesis.Case, address: str, figure: Figure) -> None:
    case.call_and_validate(base_url=address, checks=CHECKS, timeout=REPLY_S)
    figure("G14 requests", 1)
    figure("G14 errors", 0)
