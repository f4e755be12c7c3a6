"""Prompts end where the last answer begins, with the tokens that open it."""

from pathlib import Path

import numpy as np
import pytest

from core.data.answers import answer_start
from core.data.chat_template import ChatTemplate
from core.data.mmap_file import MmapFileHandler
from core.data.prompts import PromptRows
from core.data.tokenizer import Tokenizer
from core.errors import DataError
from tests.core.conftest import pairs, write_pairs


@pytest.fixture
def turns() -> list[dict[str, str]]:
    words = ["quick fox", "lazy dog", "old tree", "by the river"]
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(words)]


def rows_of(folder: Path, split: str = "train", longest: int = 200, seed: int | None = None) -> PromptRows:
    return PromptRows(MmapFileHandler(folder), split, max_prompt_tokens=longest, seed=seed)


def test_a_prompt_is_what_a_chat_would_ask_for_the_last_answer(
    tokenizer: Tokenizer, turns: list[dict[str, str]], tmp_path: Path
) -> None:
    template = ChatTemplate(tokenizer)
    writer = MmapFileHandler.writer(
        tmp_path / "data", kind="sft", vocab_size=tokenizer.vocab_size, fingerprint=tokenizer.fingerprint
    )
    for count in (2, 4):
        writer.add("train", *template.encode_with_mask(turns[:count]))
    writer.close(sources=[], report={})
    batch = rows_of(tmp_path / "data").batch([(0, 0), (0, 1)])
    assert batch.prompts == tuple(template.encode(turns[:count], add_generation_prompt=True) for count in (1, 3))
    assert batch.num_tokens == sum(map(len, batch.prompts))


def test_a_pair_is_one_prompt(tokenizer: Tokenizer, tmp_path: Path) -> None:
    examples = pairs(6, seed=1)
    write_pairs(tmp_path / "data", tokenizer, examples)
    rows = rows_of(tmp_path / "data")
    assert rows.num_rows(0) == 5
    expected = [ChatTemplate(tokenizer).encode(pair.messages, add_generation_prompt=True) for pair in examples[:5]]
    assert list(rows.batch([(0, index) for index in range(5)]).prompts) == expected
    assert rows_of(tmp_path / "data", "validation").num_rows(0) == 1


def test_prompts_that_are_too_long_are_left_out_and_counted(pair_data: Path) -> None:
    lengths = sorted(len(prompt) for prompt in rows_of(pair_data).batch([(0, i) for i in range(40)]).prompts)
    rows = rows_of(pair_data, longest=lengths[10])
    left = [length for length in lengths if length <= lengths[10]]
    assert rows.num_rows(0) == len(left)
    assert rows.problems == [f"{40 - len(left)} prompts have more than {lengths[10]} tokens or no answer"]
    with pytest.raises(DataError, match="None of the 40 prompts of the train split has at most 3 tokens"):
        rows_of(pair_data, longest=3)


def test_the_order_is_a_function_of_seed_and_epoch(pair_data: Path) -> None:
    places = [(epoch, index) for epoch in (0, 1) for index in range(40)]
    first, again, other = (rows_of(pair_data, seed=seed).batch(places) for seed in (1, 1, 2))
    assert first == again
    assert first.prompts != other.prompts
    assert first.prompts[:40] != first.prompts[40:]
    assert sorted(first.prompts[:40]) == sorted(first.prompts[40:])


def test_prompts_of_two_data_sets_are_joined(pair_data: Path) -> None:
    rows = rows_of(pair_data)
    whole = rows.batch([(0, 0), (0, 1), (0, 2)])
    assert rows.batch([(0, 0)]).joined([rows.batch([(0, 1)]), rows.batch([(0, 2)])]) == whole


@pytest.mark.parametrize(
    ("mask", "start"), [("0011001110", 6), ("001111001", 2), ("0011", 2), ("0001", 0), ("0000", 0), ("011011", 4)]
)
def test_the_answer_is_the_last_run_of_more_than_a_closing_token(mask: str, start: int) -> None:
    assert answer_start(np.array(list(mask), dtype=np.uint8)) == start
