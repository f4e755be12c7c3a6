"""Files of multiple-choice questions to questions: what is asked, the options, which is right.

Read are JSON lines, CSV, TSV and Parquet in the fields of MMLU, CMMLU, AGIEval, PIQA, OpenBookQA and TruthfulQA
(or `question`, `options`, `answer`), C3's JSON and HellaSwag as llama.cpp has it: six lines a task.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from core.data.formats import UnrecognisedError
from core.data.records import place_text
from core.data.streams import InputFile, members, open_text
from core.errors import DataError
from core.evaluation.reading import records

LETTERS = "ABCDEFGHIJ"
QUESTION_FIELDS = ("question", "question stem", "ctx", "context", "goal", "prompt", "query")
OPTION_FIELDS = ("options", "choices", "choice", "endings")
ANSWER_FIELDS = ("answer", "label", "answer key", "answerkey", "gold")
# A question in these fields is a text that the right option goes on with, not one to be answered.
CONTINUED_FIELDS = ("question stem", "ctx")
# Examples to be shown before the questions of a benchmark lie in folders of this name: they are not asked.
EXAMPLES_FOLDER = "dev"
HELLASWAG_LINES = 6
CHINESE_SHARE = 0.1
_LABEL = re.compile(r"\s*\(?([A-J])[).．、:：]\s*")
_CHINESE = re.compile(r"[\u3400-\u9fff]")


@dataclass(frozen=True, slots=True)
class Question:
    """`options[answer]` is right. `text` ends where the option goes on."""

    text: str
    options: tuple[str, ...]
    answer: int


def read_questions(file: InputFile) -> Iterator[Question]:
    """The questions of a file. Raises DataError at the first row that is none, and for a file without any."""
    count = 0
    for name, number, row in _rows(file):
        try:
            yield question_of(row)
        except UnrecognisedError as exc:
            place = place_text(name, number)
            raise DataError("{place}: {reason}.", _FORMS, place=place, reason=exc.sentence) from exc
        count += 1
    if not count:
        raise DataError("{path} holds no question.", _FORMS, path=file.path)


def _rows(file: InputFile) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(file, row, fields)."""
    name = file.path.name.lower().removesuffix(".gz")
    if name.endswith(".txt"):
        yield from _hellaswag(file)
    elif name.endswith(".json"):
        yield from _c3(file)
    else:
        yield from _records(file)


def question_of(row: Mapping[str, Any]) -> Question:
    """A row's question. Raises ValueError with what is wrong."""
    row = {key.lower(): value for key, value in row.items()}
    name = next((name for name in QUESTION_FIELDS if row.get(name)), None)
    if name is None:
        raise UnrecognisedError("no question among {names}", names=", ".join(map(str, list(row)[:6])))
    passage = f"{row['passage']}\n" if row.get("passage") else ""
    if row.get("best answer"):  # TruthfulQA
        options = (row["best answer"], *(text.strip() for text in row["incorrect answers"].split(";") if text.strip()))
        return _question(str(row[name]), options, 0)
    options = _options(row)
    answer = next((row[name] for name in ANSWER_FIELDS if row.get(name) not in (None, "")), None)
    text = passage + str(row[name])
    return _question(text, options, _number(answer, options), is_continued=name in CONTINUED_FIELDS)


def _options(row: Mapping[str, Any]) -> tuple[str, ...]:
    """From one field, as a list or as `(A) one (B) two`, or from a field for each."""
    together = next((row[name] for name in OPTION_FIELDS if row.get(name)), None)
    if isinstance(together, Mapping):  # {"text": [...], "label": [...]}
        together = together.get("text")
    if isinstance(together, str):
        together = [part for part in re.split(r"\s*\([A-J]\)\s*", together) if part]
    if together is None:
        names = [[f"choice{i}" for i in range(10)], ["sol1", "sol2"], list(LETTERS.lower())]
        found = ([str(row[name]) for name in some if row.get(name) is not None] for some in names)
        together = next((options for options in found if options), [])
    if not isinstance(together, Sequence) or len(together) < 2:
        raise UnrecognisedError("fewer than two options")
    return tuple(_LABEL.sub("", str(option), count=1) for option in together)


def _number(answer: Any, options: Sequence[str]) -> int:
    """Which option an answer names: by number from 0, by letter, or by its text."""
    text = str(answer).strip()
    if len(text) == 1 and text in LETTERS[: len(options)]:
        return LETTERS.index(text)
    if text.isdecimal() and int(text) < len(options):
        return int(text)
    if text in options:
        return list(options).index(text)
    raise UnrecognisedError(
        "the answer {answer} is none of the {count} options", answer=repr(answer), count=len(options)
    )


def _question(text: str, options: Sequence[str], answer: int, *, is_continued: bool = False) -> Question:
    """With what leads from a question to its answer, in its language."""
    is_chinese = len(_CHINESE.findall(text)) >= CHINESE_SHARE * len(text)
    if not is_continued:
        text = f"问题：{text}\n答案：" if is_chinese else f"Question: {text}\nAnswer:"
    return Question(text, tuple(option if is_chinese else f" {option.strip()}" for option in options), answer)


def _hellaswag(file: InputFile) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Context, number of the right ending, four endings."""
    lines = [line for line in _text_of(file).splitlines() if line.strip()]
    if len(lines) % HELLASWAG_LINES:
        raise DataError(
            "{path} has {count} lines, six a task leave {left}.",
            _FORMS,
            path=file.path,
            count=len(lines),
            left=len(lines) % HELLASWAG_LINES,
        )
    for first in range(0, len(lines), HELLASWAG_LINES):
        context, answer, *endings = lines[first : first + HELLASWAG_LINES]
        yield file.name, first + 1, {"ctx": context, "label": answer, "endings": endings}


def _c3(file: InputFile) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """[[lines of a passage, [{question, choice, answer}, …], id], …], or an array of rows as in JSON lines."""
    try:
        rows = json.loads(_text_of(file))
    except ValueError as exc:
        raise DataError("{path} is not JSON: {reason}.", _FORMS, path=file.path, reason=exc) from exc
    for number, row in enumerate(rows if isinstance(rows, list) else [], start=1):
        if isinstance(row, dict):
            yield file.name, number, row
            continue
        try:
            lines, asked, _ = row
            yield from ((file.name, number, {"passage": "\n".join(lines), **question}) for question in asked)
        except (TypeError, ValueError) as exc:
            raise DataError(
                "{place}: not a passage with questions.", _FORMS, place=place_text(file.name, number)
            ) from exc


def _records(file: InputFile) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Rows as `prepare` reads them, with the answers of a `…-labels.lst` beside the file (PIQA has one)."""
    labels = file.path.with_name(f"{PurePosixPath(file.path.name.removesuffix('.gz')).stem}-labels.lst")
    answers = labels.read_text(encoding="utf-8").split() if labels.exists() else []
    for number, record in enumerate(records(file)):
        if EXAMPLES_FOLDER not in PurePosixPath(record.file).parts:
            fields = record.value if isinstance(record.value, dict) else {}
            yield record.file, record.row, {**fields, "answer": answers[number]} if answers[number:] else fields


def _text_of(file: InputFile) -> str:
    with closing(members(file, lambda _: None)) as parts:
        _, stream = next(parts)
        text = open_text(stream)
        if isinstance(text, str):
            raise DataError("{path}: {reason}.", _FORMS, path=file.path, reason=text)
        return text.read()


_FORMS = "Give rows with question, options and answer, or a file of a known benchmark."
