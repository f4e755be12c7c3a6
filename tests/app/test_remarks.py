"""What the library says of files, in both languages."""

from string import Formatter

import pytest

from app.remarks import IN_CHINESE, remark_text
from rag.remarks import SENTENCES, Remark


def values_of(parts: tuple[str, str]) -> set[str]:
    return {name for part in parts for _, name, _, _ in Formatter().parse(part) if name}


def test_every_remark_is_said_in_chinese_with_the_same_values() -> None:
    assert list(IN_CHINESE) == list(SENTENCES)
    assert {code: values_of(parts) for code, parts in IN_CHINESE.items()} == {
        code: values_of(parts) for code, parts in SENTENCES.items()
    }


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "lease.pdf: it has 30,000 pages; at most 20,000 are read. Split it."),
        ("zh", "lease.pdf：文件有 30,000 页，最多读取 20,000 页。请拆分后再添加。"),
    ],
)
def test_a_remark_is_a_sentence_and_what_to_do(language: str, sentence: str) -> None:
    remark = Remark("too_many_pages", {"count": 30_000, "most": 20_000}, "lease.pdf")
    assert remark_text(remark, language) == sentence
