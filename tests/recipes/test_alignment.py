import json
import random
from pathlib import Path

import pytest

from core.data.formats import Preference, recognise
from core.data.tokenizer import Tokenizer
from recipes.alignment import preferences
from recipes.alignment.faults import FAULTS, Fault, is_chinese, worse_answer
from recipes.alignment.preferences import UNSAFE, collect, described, first_of_each, set_of
from recipes.alignment.safety import safety_pairs
from recipes.alignment.sources import TRAINED, pandalm_pairs
from tests.core.conftest import sentences

OTHERS = (["A cat sleeps on the mat all day long."], ["一只猫整天睡在垫子上。"])
QUESTION = "Where do fish live?\nAnswer in one sentence."
ANSWER = "Fish live in rivers, lakes and seas. Some of them live in a bowl at home."


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_every_fault_makes_another_answer(fault: Fault) -> None:
    worse = fault(QUESTION, ANSWER, OTHERS, random.Random(1))
    assert worse not in (None, "", ANSWER)


def test_a_fault_that_does_not_fit_is_drawn_again() -> None:
    drawn = {worse_answer("2 + 2 = ?", "4", OTHERS, random.Random(seed))[0] for seed in range(50)}
    assert drawn.isdisjoint({"cut", "shuffled"})
    assert {"other_answer", "repeated", "refusal"} <= drawn


def test_like_prompts_count_once_and_templates_do_not() -> None:
    prompts = [
        "Generate a sentence using the word 'serendipity.'",
        "Generate a sentence using the word 'serendipity'.",
        "Translate the following into Chinese.\nThe river is wide and slow here.",
        "Translate the following into Chinese.\nNobody had told me about your sister.",
    ]
    assert first_of_each(prompts) == [True, False, True, True]


def test_sets_are_drawn_by_hash_in_the_given_shares() -> None:
    sets = [set_of(f"prompt {number}", 0.15) for number in range(4000)]
    shares = {name: sets.count(name) / len(sets) for name in ("rm", "dpo", "heldout")}
    assert shares == pytest.approx({"rm": 0.425, "dpo": 0.425, "heldout": 0.15}, abs=0.02)


def test_judges_without_a_majority_are_left_out(tmp_path: Path) -> None:
    votes = [(1, 1, 2), (0, 2, 2), (0, 1, 2)]
    names = ("annotator1", "annotator2", "annotator3")
    rows = [
        {
            "instruction": "Ask",
            "input": "",
            "response1": "one",
            "response2": "two",
            **dict(zip(names, vote, strict=True)),
        }
        for vote in votes
    ]
    path = tmp_path / "test.json"
    path.write_text(json.dumps(rows))
    assert [(pair.chosen, pair.rejected) for pair in pandalm_pairs(path)] == [("one", "two"), ("two", "one")]


def test_the_fixed_unsafe_prompts_are_in_both_languages_and_in_no_pair() -> None:
    rows = [json.loads(line) for line in UNSAFE.read_text(encoding="utf-8").splitlines()]
    assert [is_chinese(row["prompt"]) for row in rows] == [row["language"] == "zh" for row in rows]
    assert {sum(row["language"] == language for row in rows) for language in ("en", "zh")} == {10}
    asked = [pair.messages[-1]["content"] for _, pair in safety_pairs()]
    fixed = [row["prompt"] for row in rows]
    assert all(first_of_each([*dict.fromkeys(asked), *fixed])[-len(fixed) :])


def test_collected_sets_share_no_prompt_and_prepare_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preferences, "TRAINED", TRAINED[:1])
    monkeypatch.setattr(preferences, "JUDGED", ())
    data, starter = tmp_path / "data", tmp_path / "starter"
    words = [f"w{number}" for number in range(400)]
    draw = random.Random(1)
    questions = [" ".join(draw.sample(words, 8)) for _ in range(120)]
    tokenizer = Tokenizer.train(sentences(400, seed=0), vocab_size=420)
    _write(data / "preference" / TRAINED[0].path, questions[:40])
    for name, some in (("sft/train.jsonl", questions[20:100]), ("heldout/sft.jsonl", questions[100:])):
        rows = [[{"role": "user", "content": q}, {"role": "assistant", "content": f"{q} it is"}] for q in some]
        (starter / name).parent.mkdir(parents=True)
        (starter / name).write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    files = collect(data, starter, tokenizer)
    prompts = {name: {row["messages"][0]["content"] for row in rows} for name, rows in files.items()}
    assert prompts["pairs/heldout"] == prompts.pop("prompts/heldout")
    assert sum(map(len, prompts.values())) == len(set.union(*prompts.values()))
    assert set(questions) <= set.union(*prompts.values())
    pairs = [recognise(row) for name in ("rm", "dpo", "heldout") for row in files[f"pairs/{name}"]]
    assert {type(pair) for pair in pairs} == {Preference}


def test_the_report_counts_how_often_the_longer_answer_is_better() -> None:
    tokenizer = Tokenizer.train(["one two three four"] * 4, vocab_size=300)
    answers = [("one two three", "one"), ("one", "two three four"), ("one", "one"), ("one two", "one")]
    rows = [{"messages": [], "chosen": good, "rejected": bad, "source": "own"} for good, bad in answers]
    assert described(rows, tokenizer)["longer_wins"] == 0.625


def _write(path: Path, questions: list[str]) -> None:
    path.parent.mkdir(parents=True)
    rows = [{"instruction": question, "chosen": f"yes {question}", "rejected": "no"} for question in questions]
    path.write_text(json.dumps(rows))
