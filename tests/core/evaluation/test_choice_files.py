import json
from pathlib import Path

import pytest

from core.data.streams import InputFile
from core.errors import DataError
from core.evaluation.choice_files import Question, question_of, read_questions

ASKED = "Question: What is ice?\nAnswer:"


def questions(path: Path) -> list[Question]:
    return list(read_questions(InputFile(path, path.name)))


@pytest.mark.parametrize(
    "row",
    [
        {"question": "What is ice?", "choice0": "fire", "choice1": "water", "answer": "1"},
        {"Question": "What is ice?", "A": "fire", "B": "water", "Answer": "B"},
        {"passage": None, "question": "What is ice?", "options": ["(A)fire", "(B)water"], "label": "B", "answer": None},
        {"goal": "What is ice?", "sol1": "fire", "sol2": "water", "label": 1},
        {"question": "What is ice?", "choices": {"text": ["fire", "water"], "label": ["A", "B"]}, "answerKey": "B"},
        {"question": "What is ice?", "choice": ["fire", "water"], "answer": "water"},
    ],
    ids=["mmlu", "cmmlu", "agieval", "piqa", "arc", "c3"],
)
def test_the_fields_of_benchmarks_are_known(row: dict[str, object]) -> None:
    assert question_of(row) == Question(ASKED, (" fire", " water"), 1)


def test_options_in_one_text_are_taken_apart_and_a_stem_is_gone_on_with() -> None:
    row = {"Question Stem": "Ice is", "Choices": "(A) fire (B) cold water (C) air", "Answer Key": "C"}
    assert question_of(row) == Question("Ice is", (" fire", " cold water", " air"), 2)


def test_the_best_of_the_true_answers_stands_against_the_wrong_ones() -> None:
    row = {"Question": "What is ice?", "Best Answer": "water", "Incorrect Answers": "fire; air;"}
    assert question_of(row) == Question(ASKED, (" water", " fire", " air"), 0)


def test_chinese_questions_are_asked_in_chinese_after_their_passage() -> None:
    row = {"passage": "冰很冷。", "question": "冰是什么？", "options": ["(A)火", "(B)水"], "label": "B"}
    assert question_of(row) == Question("问题：冰很冷。\n冰是什么？\n答案：", ("火", "水"), 1)


def test_tasks_of_six_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "swag.txt"
    path.write_text("A man sits. he\n3\nflies\nswims\nsings\nstands up\n")
    assert questions(path) == [Question("A man sits. he", (" flies", " swims", " sings", " stands up"), 3)]
    path.write_text("A man sits. he\n3\nflies\nswims\n")
    with pytest.raises(DataError, match="has 4 lines, six a task leave 4"):
        questions(path)


def test_passages_with_several_questions_are_read(tmp_path: Path) -> None:
    asked = {"question": "冰是什么？", "choice": ["火", "水"], "answer": "水"}
    path = tmp_path / "c3.json"
    path.write_text(json.dumps([[["冰很冷。", "是的。"], [asked, asked], "1-1"]]))
    assert questions(path) == [Question("问题：冰很冷。\n是的。\n冰是什么？\n答案：", ("火", "水"), 1)] * 2
    path.write_text("[[1, 2]]")
    with pytest.raises(DataError, match=r"c3\.json, row 1: not a passage with questions"):
        questions(path)


def test_answers_in_a_file_beside_the_questions_are_found(tmp_path: Path) -> None:
    (tmp_path / "piqa.jsonl").write_text('{"goal": "What is ice?", "sol1": "fire", "sol2": "water"}\n' * 2)
    (tmp_path / "piqa-labels.lst").write_text("1\n0\n")
    assert [question.answer for question in questions(tmp_path / "piqa.jsonl")] == [1, 0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "Why?", "options": ["a", "b"], "answer": "C"}, "the answer 'C' is none of the 2 options"),
        ({"question": "Why?", "options": ["a", "b"]}, "the answer None is none of the 2 options"),
        ({"question": "Why?", "options": ["a"], "answer": 0}, "fewer than two options"),
        ({"text": "no question"}, "no question among text"),
    ],
)
def test_a_row_that_is_no_question_is_named(row: dict[str, object], message: str, tmp_path: Path) -> None:
    good = {"question": "Why?", "options": ["a", "b"], "answer": 1}
    path = tmp_path / "asked.jsonl"
    path.write_text(f"{json.dumps(good)}\n{json.dumps(row)}\n")
    with pytest.raises(DataError, match=rf"asked\.jsonl, line 2: {message}"):
        questions(path)


def test_files_without_questions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("[]")
    with pytest.raises(DataError, match="holds no question"):
        questions(tmp_path / "empty.json")
    (tmp_path / "broken.jsonl").write_text("{broken")
    with pytest.raises(DataError, match=r"broken\.jsonl, line 1: broken JSON"):
        questions(tmp_path / "broken.jsonl")
