"""The engine over the CPU's kernels, with the starter: what runs beside an answer changes no letter of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import core
from core.inference.generator import LanguageModel

STARTER = Path(__file__).resolve().parents[3] / "models" / "starter"
PROMPTS = [
    "The river",
    "从前有一",
    "Hello! Who",
    "1 2 3 4 5 6",
    "In the year",
    "今天天气",
    "A list: one, two",
    "def main",
]


@pytest.fixture(scope="module")
def model() -> Iterator[LanguageModel]:
    model = core.load(STARTER)
    assert "kernels" in model.backend
    yield model
    model.close()


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_texts_of_a_full_batch_equal_each_alone(model: LanguageModel, temperature: float) -> None:
    options = {"max_new_tokens": 40, "temperature": temperature, "repetition_penalty": 1.0}
    streams = [model.stream(prompt, seed=number, **options) for number, prompt in enumerate(PROMPTS)]
    together = [stream.read() for stream in streams]
    alone = [model.stream(prompt, seed=number, **options).read() for number, prompt in enumerate(PROMPTS)]
    assert together == alone
    assert len(set(together)) > 4


def test_drafts_change_no_text(model: LanguageModel) -> None:
    without = core.load(STARTER, speculation=False)
    text = "one two three four five six seven. " * 4
    num_drafted = 0
    for seed, temperature in enumerate([0.0, 0.7, 1.0]):
        options = {"max_new_tokens": 60, "temperature": temperature, "seed": seed}
        drafted = model.stream(text, **options)
        assert drafted.read() == without.stream(text, **options).read()
        num_drafted += drafted.stats.drafted_tokens
    assert num_drafted > 0
    without.close()


def test_a_second_turn_computes_its_new_tokens_alone(model: LanguageModel) -> None:
    first = [{"role": "user", "content": "Tell me about the river and the old town. " * 8}]
    stream = model.chat(first, max_new_tokens=12, seed=3)
    answer = stream.read()
    length = stream.stats.prompt_tokens + stream.stats.completion_tokens
    second = [*first, {"role": "assistant", "content": answer}, {"role": "user", "content": "And the bridge?"}]
    again = model.chat(second, max_new_tokens=4, seed=3)
    again.read()
    assert again.stats.reused_tokens >= length - 1
    assert again.stats.prompt_tokens - again.stats.reused_tokens < 20
