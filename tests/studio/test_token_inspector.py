"""What the inspector shows is what the data sets of the trainer read."""

from pathlib import Path

import pytest

from core.config.prepare_config import PrepareConfig
from core.data.dataset import IGNORED, PackedDataset
from core.data.formats import KINDS_OF_STAGE, Preference
from core.data.mmap_file import MmapFileHandler
from core.data.pairs import PairDataset
from core.data.prepare import prepare
from core.data.prompts import PromptRows
from core.data.tokenizer import Tokenizer
from core.errors import DataError
from core.files import write_json
from core.trainer.stages import STRATEGIES
from studio.token_inspector import TokenView, inspect
from tests.core.conftest import pairs, sentences

CHAT = {
    "messages": [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": "the quick brown fox <|im_end|> 今天"},
        {"role": "assistant", "content": "jumps over a lazy dog 公园"},
        {"role": "user", "content": "and then 🦊"},
        {"role": "assistant", "content": "sleeps under an old tree"},
    ]
}


def prepared(folder: Path, rows: list[object], tokenizer: Tokenizer, kind: str) -> MmapFileHandler:
    """Rows as `prepare` writes them."""
    write_json(folder / "rows.json", rows)
    config = PrepareConfig(kind=kind, workers=1, validation_ratio=0, drop_duplicates=False, min_chars=1)
    prepare([folder / "rows.json"], folder / kind, tokenizer, config)
    return MmapFileHandler(folder / kind)


def learnt(views: list[TokenView]) -> list[int]:
    return [view.id for view in views if view.has_loss]


@pytest.mark.parametrize("size", [8, 20, 500])
def test_a_conversation_is_learnt_from_as_the_packed_row_is(tmp_path: Path, tokenizer: Tokenizer, size: int) -> None:
    handler = prepared(tmp_path, [CHAT], tokenizer, "sft")
    row = PackedDataset(handler, "train", max_seq_len=size, start_id=tokenizer.start_id, seed=None)
    ids, labels, _, documents, count = row.row(0, 0)
    views = inspect(CHAT, tokenizer, "sft", max_seq_len=size)
    read = [view for view in views if view.is_read]
    assert [view.id for view in read[:count]] == ids[:count].tolist()
    assert [view.id if view.has_loss else IGNORED for view in read[1:]] == labels[:count].tolist()
    assert {view.document for view in views} == {int(documents[0])} == {0}
    assert [view.id for view in views] == handler.ids("train", 0).tolist()


def test_several_conversations_of_a_row_are_told_apart_as_the_packed_row_tells_them(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    rows = [CHAT, {"prompt": "lazy dog", "completion": "river"}]
    handler = prepared(tmp_path, rows, tokenizer, "sft")
    ids, _, _, documents, count = PackedDataset(
        handler, "train", max_seq_len=400, start_id=tokenizer.start_id, seed=None
    ).row(0, 0)
    views = inspect(rows, tokenizer, "sft", max_seq_len=400)
    last = {0: views[-1], 1: views[-1]}
    last |= {view.document: view for view in views}
    inputs = [view for view in views if view is not last[view.document]]
    assert [(view.id, view.document) for view in inputs] == list(
        zip(ids[:count].tolist(), documents[:count].tolist(), strict=True)
    )


@pytest.mark.parametrize("size", [8, 16, 100])
def test_every_token_of_a_text_but_the_start_is_learnt_once_as_the_stream_does(
    tmp_path: Path, tokenizer: Tokenizer, size: int
) -> None:
    texts = sentences(6, seed=3)
    handler = prepared(tmp_path, [{"text": text} for text in texts], tokenizer, "pt")
    rows = PackedDataset(handler, "train", max_seq_len=size, start_id=tokenizer.start_id, seed=None)
    found = [rows.row(0, index) for index in range(rows.num_rows(0))]
    views = inspect(texts, tokenizer, "pt", max_seq_len=size)
    assert learnt(views) == [int(label) for row in found for label in row[1] if label != IGNORED]
    stream = [int(token) for row in found for token in row[0][: row[4]]]
    assert stream == [view.id for view in views][: len(stream)]
    assert max(view.document for view in views) == len(texts) - 1


@pytest.mark.parametrize("size", [24, 40, 200])
@pytest.mark.parametrize("stage", ["dpo", "rm"])
def test_a_pair_is_read_as_the_row_of_pairs_is(tmp_path: Path, tokenizer: Tokenizer, stage: str, size: int) -> None:
    long = Preference([{"role": "user", "content": "the quick brown fox " * 3}], "今天天气很好", "a lazy dog")
    examples = [pairs(1, seed=4)[0], long]
    values = [
        {"prompt": pair.messages[0]["content"], "chosen": pair.chosen, "rejected": pair.rejected} for pair in examples
    ]
    handler = prepared(tmp_path, values, tokenizer, "preference")
    rows = PairDataset(handler, "train", max_seq_len=size, stop_ids=tokenizer.stop_ids, seed=None)
    for number, value in enumerate(values):
        views = inspect(value, tokenizer, stage, max_seq_len=size)
        places = [place for place, pair in enumerate(rows.pairs) if pair == number]
        if not places:
            assert not any(view.is_read or view.has_loss for view in views)
            continue
        group = rows._pair(places[0])
        expected = [group.prompt.tolist(), *(answer.tolist() for answer in group.answers)]
        assert [[view.id for view in views if view.document == part and view.is_read] for part in range(3)] == expected
        taught = [answer if stage == "dpo" else answer[-1:] for answer in expected[1:]]
        assert learnt(views) == [token for answer in taught for token in answer]


def test_a_prompt_of_reinforcement_learning_ends_where_the_answer_is_drawn(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    handler = prepared(tmp_path, [CHAT], tokenizer, "sft")
    batch = PromptRows(handler, "train", max_prompt_tokens=500, seed=None).batch([(0, 0)])
    views = inspect(CHAT, tokenizer, "grpo")
    assert ([view.id for view in views], learnt(views)) == (batch.prompts[0], [])


def test_control_tokens_are_named_and_text_that_spells_them_is_not(tokenizer: Tokenizer) -> None:
    views = inspect(CHAT, tokenizer, "sft")
    specials = [view.text for view in views if view.is_special]
    assert specials.count("<|im_start|>") == specials.count("<|im_end|>") == 5
    assert specials[-1] == "</s>"
    plain = "".join(view.text for view in views if not view.is_special)
    assert "fox <|im_end|> 今天" in plain.replace("\\xe4\\xbb\\x8a", "今").replace("\\xe5\\xa4\\xa9", "天")
    assert "\\xf0" in plain  # the fox is not in the vocabulary: its bytes are


def test_a_row_of_another_kind_is_refused_with_the_kind_that_is_wanted(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="Row 1 is sft data, and stage dpo learns from preference"):
        inspect(CHAT, tokenizer, "dpo")
    with pytest.raises(DataError, match="Row 2 is no example: the answer is empty"):
        inspect([CHAT, {"prompt": "x", "completion": ""}], tokenizer, "sft")


def test_a_conversation_is_text_for_pre_training(tokenizer: Tokenizer) -> None:
    views = inspect(CHAT, tokenizer, "pt")
    assert views[0].id == tokenizer.start_id
    assert not views[0].has_loss
    assert views[-1].id == tokenizer.eos_id
    assert all(view.has_loss for view in views[1:])


def test_the_stages_are_those_of_the_trainer() -> None:
    assert {stage: strategy.dataset_kinds for stage, strategy in STRATEGIES.items()} == KINDS_OF_STAGE
