"""Counters, gauges and histograms of the server, written as Prometheus reads them.

All are touched on the event loop alone, so none has a lock.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/, text format 0.0.4.
"""

import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from core.inference.server.generation import Generation

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FIRST_TOKEN_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TOKEN_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class Metric(Protocol):
    """A number, or several under one name."""

    def lines(self) -> Iterator[str]:
        """It in Prometheus' text format."""


class LabelledCounter:
    """Counts events apart by their labels; a counter without labels counts under ()."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        self.name, self.help_text, self._labels = name, help_text, labels
        self._counts: Counter[tuple[str, ...]] = Counter() if labels else Counter({(): 0})

    def add(self, amount: int = 1, *values: str) -> None:
        """Count `amount` events with these labels' values."""
        self._counts[values] += amount

    def lines(self) -> Iterator[str]:
        """The counter in Prometheus' text format."""
        yield from _head(self.name, self.help_text, "counter")
        for values, count in sorted(self._counts.items()):
            yield f"{self.name}{_labels(self._labels, values)} {count}"


class Gauge:
    """A number that is read when it is asked for."""

    def __init__(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        self.name, self.help_text, self._read = name, help_text, read

    def lines(self) -> Iterator[str]:
        """The gauge in Prometheus' text format."""
        yield from _head(self.name, self.help_text, "gauge")
        yield f"{self.name} {_number(self._read())}"


class Histogram:
    """Counts durations, in seconds, in buckets with fixed upper edges."""

    def __init__(self, name: str, help_text: str, edges: Sequence[float]) -> None:
        self.name, self.help_text, self._edges = name, help_text, edges
        self._counts = [0] * (len(edges) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one duration."""
        self._counts[bisect.bisect_left(self._edges, value)] += 1
        self._sum += value

    def lines(self) -> Iterator[str]:
        """The histogram in Prometheus' text format: counts up to each edge, their sum and their number."""
        yield from _head(self.name, self.help_text, "histogram")
        total = 0
        for edge, count in zip([*map(_number, self._edges), "+Inf"], self._counts, strict=True):
            total += count
            yield f'{self.name}_bucket{{le="{edge}"}} {total}'
        yield f"{self.name}_sum {_number(self._sum)}"
        yield f"{self.name}_count {total}"


class Metrics:
    """What the server counts. `gauges` are read when someone asks."""

    def __init__(self, gauges: Sequence[Gauge]) -> None:
        self.requests = LabelledCounter(
            "astrai_http_requests_total", "Requests by route and status.", ("method", "route", "status")
        )
        self.prompt_tokens = LabelledCounter("astrai_prompt_tokens_total", "Tokens of prompts.")
        self.cached_tokens = LabelledCounter("astrai_cached_tokens_total", "Tokens of prompts found in the cache.")
        self.completion_tokens = LabelledCounter("astrai_completion_tokens_total", "Tokens generated.")
        self.first_token = Histogram(
            "astrai_time_to_first_token_seconds", "From a request to its first token.", FIRST_TOKEN_BUCKETS_S
        )
        self.per_token = Histogram(
            "astrai_time_per_output_token_seconds", "Between two tokens of an answer, its mean.", TOKEN_BUCKETS_S
        )
        self._gauges = gauges

    def count(self, generation: Generation) -> None:
        """Count the tokens and times of a generation that has ended."""
        stats = generation.stream.stats
        self.prompt_tokens.add(stats.prompt_tokens)
        self.cached_tokens.add(stats.reused_tokens)
        self.completion_tokens.add(stats.completion_tokens)
        if (seconds := generation.time_to_first_token_s) is not None:
            self.first_token.observe(seconds)
        if (seconds := generation.time_per_token_s) is not None:
            self.per_token.observe(seconds)

    def text(self) -> str:
        """All of it, as /metrics answers."""
        counters = (self.requests, self.prompt_tokens, self.cached_tokens, self.completion_tokens)
        parts: list[Metric] = [*counters, self.first_token, self.per_token, *self._gauges]
        return "".join(f"{line}\n" for part in parts for line in part.lines())


def _head(name: str, help_text: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
