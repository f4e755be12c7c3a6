"""What a sentence claims that other words must not change: its numbers, its names and whether it denies."""

import re
from dataclasses import dataclass
from itertools import pairwise

from rag.text import fold, is_han

NEW_PAIRS = 4  # in a row, which a word of three characters and its borders make

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?<![\w'’])[A-Z][\w'’-]*\w|(?<![\w'’])[A-Z]{2,}")
_HAN_NUMBER = re.compile("[〇零一二三四五六七八九十百千万亿两]{2,}|第[一二三四五六七八九十]")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|unable)\b"
    r"|\b(?:fails?|failed|refuses?|refused) to\b|n['’]t\b"
    r"|不(?!仅|但|只|同|断|少|过)|没有|没能|未(?!来)|无法|并非|从未|绝非|毫无"
)
_OPPOSITES = tuple(
    (re.compile(one), re.compile(other))
    for one, other in (
        (r"\b(?:increas|rise|rose|grew|grow)", r"\b(?:decreas|fell|fall|declin|shrank|shrink)"),
        (r"\b(?:before|earlier)\b", r"\b(?:after|later)\b"),
        (r"\b(?:first)\b", r"\b(?:last)\b"),
        (r"\b(?:more|higher|larger|greater|longer)\b", r"\b(?:less|fewer|lower|smaller|shorter)\b"),
        (r"\b(?:most|largest|highest|longest)\b", r"\b(?:least|smallest|lowest|shortest)\b"),
        (r"\b(?:win|won|victory|defeated)\b", r"\b(?:lost|lose|loss)\b"),
        (r"\b(?:north\w*)\b", r"\b(?:south\w*)\b"),
        (r"\b(?:east\w*)\b", r"\b(?:west\w*)\b"),
        (r"\b(?:all|every|always)\b", r"\b(?:some|few|rarely|seldom)\b"),
        ("增加|上升|增长|提高", "减少|下降|降低"),
        ("之前|以前", "之后|以后"),
        ("最大|最多|最高|最长", "最小|最少|最低|最短"),
        ("大于|高于|多于", "小于|低于|少于"),
        ("胜|赢", "败|输"),
    )
)
_COMMON = re.compile(r"^(?:the|a|an|in|on|at|of|it|its|he|she|they|this|that|these|those|there|and|but|as|by|for|from|"
                     r"to|with|when|while|after|before|if|according|however|also|i|we|you|his|her|their)$")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claims:
    """The numbers and names of a sentence, folded, and whether it denies."""

    numbers: frozenset[str]
    names: frozenset[str]
    is_negated: bool
    text: str

    @classmethod
    def of(cls, text: str) -> "Claims":
        """What a sentence claims."""
        names = {fold(match.group()) for match in _NAME.finditer(text)}
        names = {name for name in names if not _COMMON.match(name)}
        folded = fold(text)
        return cls(_numbers(folded), frozenset(names), _is_negated(folded), folded)

    def equal(self, other: "Claims") -> bool:
        """Whether two texts, alike otherwise, have the same numbers and names, and deny alike."""
        return (self.numbers, self.names, self.is_negated) == (other.numbers, other.names, other.is_negated)

    def agree_with(self, source: str, passage: str) -> bool:
        """Whether the sentence that should support this one says no other number, name or truth.

        Names may stand elsewhere in its passage: the sentence itself may say "he".
        """
        folded, around = fold(source), fold(passage)
        known = _numbers(folded)
        return (
            self.numbers <= known
            and all(_has_name(around, name) for name in self.names)
            and self.is_negated == _is_negated(folded)
            and not _is_opposite(self.text, folded)
            and not _says_new_word(self.text, around)
        )


def _numbers(folded: str) -> frozenset[str]:
    """Numbers without their thousands' commas, and those in Chinese characters."""
    latin = {match.group().replace(",", "").rstrip(".") for match in _NUMBER.finditer(folded)}
    return frozenset(latin | {match.group() for match in _HAN_NUMBER.finditer(folded)})


def _has_name(folded: str, name: str) -> bool:
    stem = name.removesuffix("'s").removesuffix("’s")
    return re.search(rf"(?<!\w){re.escape(stem)}", folded) is not None


def _says_new_word(claim: str, passage: str) -> bool:
    """Whether a claim has a run of Chinese characters of which no two neighbours are neighbours in the passage.

    Chinese names have no capital letter; this finds one that stands nowhere in the passage.
    """
    new = 0
    for pair in map("".join, pairwise(claim)):
        is_new = is_han(pair[0]) and is_han(pair[1]) and pair not in passage
        new = new + 1 if is_new else 0
        if new >= NEW_PAIRS:
            return True
    return False


def _is_negated(folded: str) -> bool:
    return len(_NEGATION.findall(folded)) % 2 == 1


def _is_opposite(one: str, other: str) -> bool:
    """Whether one text has only one of two opposite words, and the other text only the other."""
    return any(
        bool(a.search(one)) != bool(b.search(one))
        and bool(a.search(other)) != bool(b.search(other))
        and bool(a.search(one)) != bool(a.search(other))
        for a, b in _OPPOSITES
    )
