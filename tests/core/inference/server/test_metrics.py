"""/metrics: what it counts, and that Prometheus' own rules hold for its text."""

import re
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest

from core.inference.server import CompletionServer
from core.inference.server.metrics import Gauge, Histogram, LabelledCounter
from tests.core.inference.server.fake_model import FakeModel, serving, wait_until

LINE = re.compile(r'^(# (HELP|TYPE) \w+ .+|\w+(\{(\w+="([^"\\\n]|\\.)*",?)+\})? (\d+(\.\d+)?(e-?\d+)?|\+Inf))$')


@pytest.fixture
def address() -> Iterator[str]:
    with serving(CompletionServer(lambda: cast(Any, FakeModel("a", "b", step_s=0.02))).app) as address:
        yield address


def metrics(address: str) -> dict[str, float]:
    answer = httpx.get(f"{address}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert [line for line in lines if not LINE.match(line)] == []
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_requests_tokens_and_times_are_counted(address: str) -> None:
    for body in ({"prompt": "x"}, {"prompt": "x", "stream": True}, {"prompt": ["x", "y"]}, {}):
        httpx.post(f"{address}/v1/completions", json=body)
    for path in ("/v1/models/fake", "/v1/models/gone", "/../../etc/passwd", "/anything"):
        httpx.get(f"{address}{path}")
    wait_until(lambda: metrics(address)["astrai_generations_open"] == 0)
    values = metrics(address)
    requests = {name: value for name, value in values.items() if name.startswith("astrai_http_requests_total")}
    path = 'astrai_http_requests_total{method="POST",route="/v1/completions",status='
    assert (requests[f'{path}"200"}}'], requests[f'{path}"400"}}']) == (3, 1)
    names = 'astrai_http_requests_total{method="GET",route="/v1/models/{name}",status='
    assert (requests[f'{names}"200"}}'], requests[f'{names}"404"}}']) == (1, 1)
    assert requests['astrai_http_requests_total{method="GET",route="other",status="404"}'] == 2
    assert values["astrai_completion_tokens_total"] == 8
    assert values["astrai_prompt_tokens_total"] == 8
    assert values["astrai_cached_tokens_total"] == 4
    assert values["astrai_time_to_first_token_seconds_count"] == 4
    assert values["astrai_time_per_output_token_seconds_count"] == 4
    assert values["astrai_time_per_output_token_seconds_sum"] >= 4 * 0.015
    assert values["process_resident_memory_bytes"] > 2**20


def test_answers_are_queued_until_their_first_token_and_then_running() -> None:
    model = FakeModel(*"abc" * 100, step_s=0.3)
    with serving(CompletionServer(lambda: cast(Any, model)).app) as address, httpx.Client() as client:
        with client.stream("POST", f"{address}/v1/completions", json={"prompt": "x", "stream": True}):
            wait_until(lambda: metrics(address)["astrai_generations_running"] == 1)
            assert metrics(address)["astrai_generations_queued"] == 0
        wait_until(lambda: metrics(address)["astrai_generations_open"] == 0)


def test_a_histogram_counts_up_to_each_edge() -> None:
    histogram = Histogram("h", "Times.", (0.1, 1))
    for value in (0.1, 0.5, 2):
        histogram.observe(value)
    assert list(histogram.lines()) == [
        "# HELP h Times.", "# TYPE h histogram", 'h_bucket{le="0.1"} 1', 'h_bucket{le="1"} 2', 'h_bucket{le="+Inf"} 3',
        "h_sum 2.6", "h_count 3",
    ]  # fmt: skip


def test_labels_are_escaped_and_a_bare_counter_starts_at_0() -> None:
    counter, bare = LabelledCounter("c", "Events.", ("what",)), LabelledCounter("b", "Events.")
    counter.add(2, 'a"\\\n')
    assert list(counter.lines())[2:] == [r'c{what="a\"\\\n"} 2']
    assert list(bare.lines())[2:] == ["b 0"]
    assert list(Gauge("g", "Now.", lambda: 0.5).lines())[2:] == ["g 0.5"]
