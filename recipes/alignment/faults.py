"""Worse answers by rule, from good conversations: what a very small model gets wrong most often.

Each rule takes (question, answer, others, draw) and gives the worse answer, or None where it does not
fit. `others` are answers to other questions, first those in the answer's language, then the rest.
"""

import random
import re
from collections.abc import Callable, Sequence

from recipes.starter.dialogues import REFUSE_EN, REFUSE_ZH

CHINESE = re.compile(r"[\u3400-\u9fff]")
_UNIT = re.compile(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+\s*|\s+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？\n])")
MIN_CUT_CHARS, MIN_SHUFFLED_WORDS = 40, 6

Others = tuple[Sequence[str], Sequence[str]]
Fault = Callable[[str, str, Others, random.Random], str | None]


def is_chinese(text: str) -> bool:
    """Whether a fifth of the characters are Chinese."""
    return 5 * len(CHINESE.findall(text)) >= len(text)


def other_answer(_question: str, _answer: str, others: Others, draw: random.Random) -> str | None:
    """What another question was answered."""
    return draw.choice(others[0]) if others[0] else None


def other_language(_question: str, _answer: str, others: Others, draw: random.Random) -> str | None:
    """An answer in the other language, to another question."""
    return draw.choice(others[1]) if others[1] else None


def echo(question: str, _answer: str, _others: Others, _draw: random.Random) -> str | None:
    """The question's last line again."""
    return question.strip().splitlines()[-1]


def cut(_question: str, answer: str, _others: Others, draw: random.Random) -> str | None:
    """Ends in the middle of a sentence."""
    if len(answer) < MIN_CUT_CHARS:
        return None
    return answer[: int(len(answer) * draw.uniform(0.2, 0.6))].rstrip(" .。,，")


def repeated(_question: str, answer: str, _others: Others, draw: random.Random) -> str | None:
    """The beginning again and again."""
    first = next((part.strip() for part in _SENTENCE_END.split(answer) if part.strip()), "")
    gap = "" if is_chinese(first) else " "
    return gap.join([first[:120]] * draw.randint(3, 6)) if first else None


def shuffled(_question: str, answer: str, _others: Others, draw: random.Random) -> str | None:
    """The same words in no order."""
    words = _UNIT.findall(answer)
    if len(words) < MIN_SHUFFLED_WORDS:
        return None
    draw.shuffle(words)
    return "".join(words).strip()


def refusal(question: str, answer: str, _others: Others, draw: random.Random) -> str | None:
    """A refusal where nothing is wrong with the question."""
    refusals = REFUSE_ZH if is_chinese(question) else REFUSE_EN
    return draw.choice(refusals) if answer not in (*REFUSE_EN, *REFUSE_ZH) else None


# Shares of the pairs made by rule.
FAULTS: dict[Fault, int] = {
    other_answer: 30,
    repeated: 20,
    shuffled: 15,
    cut: 10,
    echo: 10,
    other_language: 10,
    refusal: 5,
}


def worse_answer(question: str, answer: str, others: Others, draw: random.Random) -> tuple[str, str]:
    """(name of the rule, worse answer): the first rule drawn that fits and changes the answer."""
    while True:
        fault = draw.choices(list(FAULTS), list(FAULTS.values()))[0]
        worse = fault(question, answer, others, draw)
        if worse and worse.strip() and worse.strip() != answer.strip():
            return fault.__name__, worse.strip()
