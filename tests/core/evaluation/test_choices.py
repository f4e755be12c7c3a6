import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from core.errors import DataError
from core.evaluation import evaluate_choices
from core.evaluation.choice_files import Question
from core.evaluation.choices import option_nats
from core.inference.generator import LanguageModel
from core.model.transformer import Transformer

QUESTIONS = [
    Question("the quick brown fox", (" jumps over", " sleeps", " and then the lazy dog sleeps"), 0),
    Question("an old tree by the", (" river", " dog and a fox"), 1),
    Question("今天天气", ("很好", "很好我们一起去公园散步"), 0),
]


@torch.no_grad()
def nats_of(network: Transformer, model: LanguageModel, text: str, option: str) -> float:
    """-log p of an option by one whole forward pass."""
    start, encode = [model.tokenizer.start_id], model.tokenizer.encode
    ids = torch.tensor([[*start, *encode(text + option)]])
    losses = F.cross_entropy(network(ids[:, :-1])[0], ids[0, 1:], reduction="none")
    return float(losses[len(encode(text)) :].sum())


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_options_loss_is_that_of_a_whole_forward_pass(
    model: LanguageModel, network: Transformer, question: Question
) -> None:
    nats, is_cut = option_nats(model, question)
    expected = [nats_of(network, model, question.text, option) for option in question.options]
    assert nats == pytest.approx(expected, rel=1e-4)
    assert not is_cut


def test_a_token_across_the_border_belongs_to_the_option(model: LanguageModel, network: Transformer) -> None:
    encode = model.tokenizer.encode
    question = Question("the qui", ("ck brown", "et fox"), 0)
    assert encode("the quick brown")[: len(encode("the qui"))] != encode("the qui")
    whole = encode("the quick brown")
    shared = next(i for i, (a, b) in enumerate(zip(encode("the qui"), whole, strict=False)) if a != b)
    ids = torch.tensor([[model.tokenizer.start_id, *whole]])
    with torch.no_grad():
        losses = F.cross_entropy(network(ids[:, :-1])[0], ids[0, 1:], reduction="none")
    assert option_nats(model, question)[0][0] == pytest.approx(float(losses[shared:].sum()), rel=1e-4)


def test_the_likeliest_options_are_counted_raw_and_by_bytes(
    model: LanguageModel, network: Transformer, tmp_path: Path
) -> None:
    rows = [{"ctx": q.text, "endings": list(q.options), "label": q.answer} for q in QUESTIONS]
    path = tmp_path / "asked.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    score = evaluate_choices(model, [path])[0]
    hits = by_bytes = 0
    for question in QUESTIONS:
        nats = [nats_of(network, model, question.text, option) for option in question.options]
        rates = [loss / len(option.encode()) for loss, option in zip(nats, question.options, strict=True)]
        hits += nats.index(min(nats)) == question.answer
        by_bytes += rates.index(min(rates)) == question.answer
    assert (score.num_questions, score.accuracy, score.normalised_accuracy) == (3, hits / 3, by_bytes / 3)
    assert score.chance == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    assert score.interval[0] <= score.accuracy <= score.interval[1]


def test_a_question_beyond_the_context_loses_its_beginning(model: LanguageModel, tmp_path: Path) -> None:
    long = "the quick brown fox " * model.max_seq_len
    path = tmp_path / "asked.jsonl"
    row = {"question": long, "options": ["jumps", "sleeps"], "answer": 0}
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "question": "Why?"}) + "\n")
    assert evaluate_choices(model, [path])[0].num_cut == 1
    with pytest.raises(DataError, match=r"An option of \d+ tokens exceeds the context of 256"):
        option_nats(model, Question("Why?", (long, "no"), 0))


def test_a_part_of_the_questions_is_spread_over_the_file(model: LanguageModel, tmp_path: Path) -> None:
    row = {"question": "Why?", "options": ["a"] * 2, "answer": 0}
    rows = [row] * 5 + [{**row, "options": ["a"] * 4}] * 5
    path = tmp_path / "asked.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    score = evaluate_choices(model, [path], max_questions=4)[0]
    assert (score.num_questions, score.chance) == (4, 0.375)
